# What rekeyd may do in Active Directory: set people's passwords, have them changed at the next sign-in, lift locks by
# failures, and nothing else. For Windows' own tools; the same for samba-tool is active-directory-delegation.sh.
#
# 1. Make the account, in no group but Domain Users; its password never expires. Fill in your names.
# 2. Run this as somebody who may delegate. Undo: dsacls $Base /R $Account
# 3. `rekeyctl doctor` says what still is missing, and what is too much.
$Base = "OU=People,DC=example,DC=org"
$Account = "EXAMPLE\rekeyd"

# New-ADUser rekeyd -Path "OU=Services,DC=example,DC=org" -PasswordNeverExpires $true -Enabled $true `
#   -AccountPassword (Read-Host -AsSecureString)
dsacls $Base /I:S /G "${Account}:CA;Reset Password;user"
dsacls $Base /I:S /G "${Account}:RPWP;lockoutTime;user"
# For temporary passwords that operators set; give it to the account of `operator_bind_dn` instead where there is one.
dsacls $Base /I:S /G "${Account}:RPWP;pwdLastSet;user"
