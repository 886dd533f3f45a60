### The pages of rekeyd, in English.
###
### Names in braces are filled in; a number goes in as $count. What passwords must be stands in rules.ftl.

## On every page

error-prefix = Error:
errors-title = Please check this
help-link = Get help
help-line = Stuck? Turn to { $help }.
login-label = Login name
next-again = Try again
next-forgot = Ask for a new link
next-sign-in = Go to sign-in

## /forgot: who forgot a password?

forgot-title = Forgot your password?
forgot-lead = Tell us who you are, and we send a link to the email address that we already have for you. With it you set a new password yourself.
forgot-login-hint = The name you sign in with.
forgot-submit = Send me a link
forgot-note = Your present password keeps working until you set a new one.
forgot-empty = Type your login name.
forgot-forbidden = A login name has no line breaks or control characters.
forgot-long = This is longer than any login name.

## The answer to /forgot, the same for everybody

sent-title = Check your email
sent-text = If there is an account by that name whose password can be reset here, a message with a link is on its way.
sent-wait = It usually arrives within a few minutes.
sent-spam = Nothing there? Have a look at the spam folder, and check that you typed the right name.
sent-still = Your present password keeps working until you set a new one.
too-often-title = Please wait a little
too-often-text = Too many requests came from your network.
too-often-minutes =
    { $count ->
        [one] You can try again in a minute.
       *[other] You can try again in { $count } minutes.
    }
too-often-hours =
    { $count ->
        [one] You can try again in an hour.
       *[other] You can try again in { $count } hours.
    }
too-often-days =
    { $count ->
        [one] You can try again in a day.
       *[other] You can try again in { $count } days.
    }
busy-title = We are very busy
busy-text = Your request was not taken, and nothing was changed. Please try again in a moment.

## /r/…: a new password

reset-title = Set a new password
reset-lead = Your present password keeps working until you set this one.
activation-title = Welcome! Set your password
activation-lead = Your account is ready. Choose the password that you will sign in with.
reset-account-label = Account
rules-title = Choosing a password
reset-password-label = New password
reset-confirm-label = New password, once more
reset-submit = Set password
reset-life-minutes =
    { $count ->
        [one] This link works for one more minute.
       *[other] This link works for another { $count } minutes.
    }
reset-life-hours =
    { $count ->
        [one] This link works for one more hour.
       *[other] This link works for another { $count } hours.
    }
reset-life-days =
    { $count ->
        [one] This link works for one more day.
       *[other] This link works for another { $count } days.
    }
reset-errors-title = Please check your new password
reset-nothing-lost = Your link still works.
reset-empty = Type a new password.
reset-impossible = This password is far too long, or has a character that no password can have.
reset-differs = The two passwords differ. Type the same one twice.

## What the directory says to a new password

rejected-title = The password could not be set
rejected-text = Nothing was changed: your present password keeps working.
rejected-in-history = You had this password before. Choose one that you have not used yet.
rejected-missing-right = The reason is not in your password: somebody who looks after the directory has to act.
rejected-must-supply-old = The reason is not in your password: somebody who looks after the directory has to act.
rejected-no-tls = The reason is not in your password: somebody who looks after the directory has to act.
rejected-not-allowed = The reason is not in your password: somebody who looks after the directory has to act.
rejected-not-complex = The directory finds this password too simple. Make it longer, or mix more kinds of characters.
rejected-other = The directory did not take this password. Try another one.
rejected-protected = Your account is protected, and only an administrator can set its password.
rejected-too-long = This password is longer than the directory takes.
rejected-too-short = This password is shorter than the directory takes.
rejected-too-young = Your present password was set too recently to be changed again.
demands-length =
    { $count ->
        [one] The directory wants at least one character.
       *[other] The directory wants at least { $count } characters.
    }
demands-history =
    { $count ->
        [one] The directory does not take the password that you had last.
       *[other] The directory takes none of your last { $count } passwords.
    }
demands-complex = The directory wants several kinds of characters: capital and small letters, digits, signs; and no part of your name.
demands-wait-minutes =
    { $count ->
        [one] It can be changed again in one minute.
       *[other] It can be changed again in { $count } minutes.
    }
demands-wait-hours =
    { $count ->
        [one] It can be changed again in one hour.
       *[other] It can be changed again in { $count } hours.
    }
demands-wait-days =
    { $count ->
        [one] It can be changed again in one day.
       *[other] It can be changed again in { $count } days.
    }

## How it ended

done-title = Your new password is set
done-text = From now on you sign in with your new password.
done-everywhere = It may take a few minutes until every system knows it.
done-notice = We send you a message about this change, so that you would notice if somebody else had made it.
done-locked-minutes =
    { $count ->
        [one] The account stays locked for another minute, because of wrong passwords.
       *[other] The account stays locked for another { $count } minutes, because of wrong passwords.
    }
done-locked-hours =
    { $count ->
        [one] The account stays locked for another hour, because of wrong passwords.
       *[other] The account stays locked for another { $count } hours, because of wrong passwords.
    }
done-locked-days =
    { $count ->
        [one] The account stays locked for another day, because of wrong passwords.
       *[other] The account stays locked for another { $count } days, because of wrong passwords.
    }
gone-title = This link no longer works
gone-text = A link works once, and for a limited time. You can ask for a new one.
gone-newest = If you have several messages, use the link in the newest.
gone-still = Did you just set a password with it? Then it is done, and you can sign in.
refused-title = This password can’t be set here
refused-text = Nothing was changed. Please turn to support; they can see the reason.
refused-reference = Tell them this reference: { $reference }
unavailable-title = That did not work just now
unavailable-text = Nothing was changed, and your link still works. Please try again in a few minutes.
unsure-title = We don’t know yet whether it worked
unsure-text = Your new password was sent to the directory, but no answer came back. It may be set, or it may not.
unsure-notice = If it was set, you get a message that says so.
unsure-try = Try to sign in with the new password. If that fails, the old one still works, and you can ask for a new link.

## /not-me/…: this was not me

not-me-title = This was not you?
not-me-lead = Somebody asked for a link to set your password, or set it, and it was not you. Tell us, and we protect the account.
not-me-links = Every link that was sent for the account stops working.
not-me-freeze = For up to a day, nobody can reset this password by email. Support can still help you.
not-me-password = Your present password stays as it is.
not-me-login-hint = Type it, so that we know that a person is reporting this.
not-me-submit = This was not me
not-me-mismatch = This is not the login name of the account in question. It stands in the message that you got.
not-me-done-title = Thank you, the account is protected
not-me-done-text = Your report is recorded, and those who look after the accounts can see it.
not-me-done-links = Every link that was sent for the account has stopped working.
not-me-done-frozen = For up to a day, nobody can reset this password by email.
not-me-done-changed = Has your password been changed already? Then turn to support now.
not-me-gone-title = This link no longer works
not-me-gone-text = It was used before, or its time is over. If something seems wrong with your account, turn to support.

## When something is wrong with the request

bad-request-title = That was not understood
bad-request-text = What your browser sent is not what this page asked for. Nothing was changed. Go back and try again.
fault-title = Something went wrong here
fault-text = This is our fault, not yours. Please try again; if it happens again, tell support.
foreign-site-title = This form came from another site
foreign-site-text = For your safety it was not accepted, and nothing was changed. Open the link in your message yourself.
method-title = This can’t be done here
method-text = The page is there, but it does not take this kind of request.
misdirected-title = You are at the wrong address
misdirected-text = This service is not offered under the name in your browser’s address bar. Use the link in your message.
not-found-title = There is no such page
not-found-text = Check the address. A link from a message has to be copied whole.
