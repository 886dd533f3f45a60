# What messages say. Every text here may use $service (what the password opens), $organisation (whose it is), $help
# and $help_url (whom to turn to, as "the service desk"), $sign_in_url, $login and $name (as the directory has them), $at (the time it tells
# of) and $valid (how long its link lives).

## Shared by several messages

greeting = Hello,
greeting-name = Hello { $name },

label-service = Service
label-service-of = { $service } ({ $organisation })
label-account = Account
label-when-asked = Requested
label-when-changed = Changed
label-when-unsure = Tried
label-when-made = Sent on

link-copy = If the button does not work, copy this address into your browser:
link-life = The link works once, for { $valid } after this message was sent. If you got several messages, use the newest.
nobody-asks-link = Nobody will ever ask you for this link or for your password, not by mail, not on the phone, not in person. Do not forward this message.
nobody-asks-password = Nobody will ever ask you for your password, not by mail, not on the phone, not in person.
footer = This message was sent automatically by { $organisation }.
footer-help = Do you need help? Turn to { $help }.
help-default = the service desk of { $organisation }

not-me-link = This was not me

## Reset: here is the link that sets a new password

reset-link-subject = Set a new password for { $service }
reset-link-title = Set a new password
reset-link-lead = Somebody, probably you, asked to set a new password for { $service }. To do so, follow this link:
reset-link-button = Set a new password
reset-link-until = Your old password works until you have set a new one.
reset-link-not-me = Was this not you? Nothing has changed, and you need not do anything. If you want to stop further requests for now, tell us:

## Activation: here is the link that sets the first password

activation-link-subject = Your account for { $service } is ready
activation-link-title = Welcome
activation-link-lead = Your account for { $service } is ready. Follow this link to choose your first password:
activation-link-button = Choose a password
activation-link-proof = This also confirms that this address is yours.
activation-link-not-me = Do you not expect an account? Then somebody may have entered your address by mistake. Tell us:

## Changed: a new password was set by means of a link

password-changed-subject = Your password for { $service } was changed
password-changed-title = Your password was changed
password-changed-lead = The password of your account for { $service } was changed by means of a link that we had sent.
password-changed-fine = If this was you, all is well and there is nothing to do.
password-changed-not-me = Was this not you? Then tell us at once. Your account will be protected against further changes for a while:

## A password whose setting had no answer

password-unsure-subject = Your password for { $service } may have been changed
password-unsure-title = Your password may have been changed
password-unsure-lead = A new password was sent to the directory of { $service }, and the directory did not answer. Try the new password first; if it does not work, the old one still does, and you can ask for a new link.
password-unsure-fine = If it was you who set it, there is nothing else to do.
password-unsure-not-me = Was this not you? Then tell us at once. Your account will be protected against further changes for a while:

## Replaced: an operator set another password

password-replaced-subject = Your password for { $service } was replaced
password-replaced-title = Your password was replaced
password-replaced-lead = An operator of { $organisation } has replaced the password of your account for { $service }. Your old password no longer works.
password-replaced-fine = If you asked for this, all is well. If you do not have the new password yet, or did not expect this, turn to { $help }.
password-replaced-not-me = Did you not ask for this? You can also tell us here:

## Refused: it can't be done this way

recovery-refused-subject = About your password for { $service }
recovery-refused-title = Your password can't be reset by mail
recovery-refused-lead = Somebody, probably you, asked to set a new password for { $service }. For this account that can't be done by a link in a message. Nothing has changed.
recovery-refused-help = If you need a new password, turn to { $help }.
recovery-refused-not-me = Was this not you? Then you need not do anything.
