#!/bin/sh
# What rekeyd may do in FreeIPA: set people's passwords under their own policy, and read how their accounts stand.
# Experimental, like the rest for FreeIPA. Run it as an administrator (kinit admin), then once more on each server for the
# last part, since cn=config is not replicated. `rekeyctl doctor` says what still is missing.
set -eu
SUFFIX=${SUFFIX:-dc=example,dc=org}
NAME=${NAME:-rekeyd}
OWN="uid=$NAME,cn=sysaccounts,cn=etc,$SUFFIX"

# The account. Without the second command people would have to choose a second password at once.
ipa sysaccount-add "$NAME" --random
ipa sysaccount-policy "$NAME" --privileged=true

# Its rights: to write passwords, and to read the state of accounts. Not those of "User Administrators".
ipa permission-add "rekeyd sets passwords" --type=user --right=write --attrs=userpassword --attrs=krbprincipalkey
ipa permission-add "rekeyd reads accounts" --type=user --right=read --right=search --right=compare \
	--attrs=nsaccountlock --attrs=krbprincipalexpiration --attrs=krbpasswordexpiration --attrs=krblastpwdchange \
	--attrs=krbloginfailedcount --attrs=krblastfailedauth --attrs=krblastadminunlock --attrs=krbpwdpolicyreference \
	--attrs=ipauserauthtype --attrs=memberof --attrs=ipauniqueid
ipa privilege-add rekeyd
ipa privilege-add-permission rekeyd --permissions="rekeyd sets passwords" --permissions="rekeyd reads accounts" \
	--permissions="System: Read Group Password Policy"
ipa role-add rekeyd
ipa role-add-privilege rekeyd --privileges=rekeyd
ipa role-add-member rekeyd --sysaccounts="$NAME"

# On every server that rekeyd writes to: the list must hold the account, and rekeyd may see it.
ldapmodify -D 'cn=Directory Manager' -W <<END
dn: cn=ipa_pwd_extop,cn=plugins,cn=config
changetype: modify
add: aci
aci: (targetattr="objectClass || SysAcctManagersDNs || passSyncManagersDNs")(version 3.0; acl "rekeyd sees whose passwords stand"; allow (read, search, compare) userdn="ldap:///$OWN";)
END
systemctl restart dirsrv.target
