#!/bin/sh
# What rekeyd may do in Active Directory: set people's passwords, have them changed at the next sign-in, lift locks by
# failures, and nothing else. With samba-tool, on a controller of Samba or against any; for Windows' own tools see
# active-directory-delegation.ps1.
#
# 1. Make the account, in no group but the usual one; its password never expires:
#      samba-tool user create rekeyd && samba-tool user setexpiry rekeyd --noexpiry
# 2. Fill in your names and run this. BASE is where people are; not the head of the domain if that can be helped.
# 3. `rekeyctl doctor` says what still is missing, and what is too much.
#
# Reading needs no rule: whoever has signed in may read what rekeyd asks for, unless you changed that. Accounts that
# AdminSDHolder protects stay out of reach, as they should. To undo: samba-tool dsacl delete with the same rules.
set -eu
BASE=${BASE:-OU=People,DC=example,DC=org}
ACCOUNT=${ACCOUNT:-rekeyd}
# A second account by which operators' passwords are set (`operator_bind_dn`); none where this is empty.
OPERATORS=${OPERATORS:-}
# Such as: -H ldaps://dc1.example.org -U administrator
TOOL=${TOOL:-}

USERS=bf967aba-0de6-11d0-a285-00aa003049e2
RESET="CR;00299570-246d-11d0-a768-00aa006e0529"
LOCKOUT_TIME="RPWP;28630ebf-41d5-11d1-a9c1-0000f80367c1"
PWD_LAST_SET="RPWP;bf967a0a-0de6-11d0-a285-00aa003049e2"

grant() { # who, what...
	sid=$(samba-tool user show "$1" --attributes=objectSid $TOOL | sed -n 's/^objectSid: //p')
	shift
	for right; do
		samba-tool dsacl set $TOOL --objectdn="$BASE" --sddl="(OA;CIIO;$right;$USERS;$sid)"
	done
}

if [ -n "$OPERATORS" ]; then
	grant "$ACCOUNT" "$RESET" "$LOCKOUT_TIME"
	grant "$OPERATORS" "$RESET" "$PWD_LAST_SET"
else
	grant "$ACCOUNT" "$RESET" "$LOCKOUT_TIME" "$PWD_LAST_SET"
fi
