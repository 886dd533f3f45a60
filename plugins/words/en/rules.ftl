# What a password must be, and why one was not taken. The first kind is shown before anything is typed, the second
# after; both stand in lists, so they are sentences of their own.

## What it must be

rule-min-length = It has at least { $least ->
    [one] one character
   *[other] { $least } characters
}.
rule-max-length = It has at most { $most ->
    [one] one character
   *[other] { $most } characters
}.
rule-not-common = It is not one of the passwords that many people use.
rule-not-guessable = It is hard to guess. Several words that do not belong together do well.
rule-not-personal = It does not contain your name, your login name or the name of the organisation.
rule-not-old = It is not one that you have used before.
rule-classes = It has characters of at least { $count ->
    [one] one
   *[other] { $count }
} of these kinds: capital letters, small letters, digits, others.

## Why it was not taken

weak-too-short = It is too short: at least { $least ->
    [one] one character is
   *[other] { $least } characters are
} needed.
weak-too-long = It is too long: at most { $most ->
    [one] one character is
   *[other] { $most } characters are
} possible.
weak-common = Many people use this password, so it is among the first that attackers try.
weak-guessable = It is too easy to guess. Add a word or two that do not belong to the others.
weak-personal = It is too near to your name, your login name or the name of the organisation.
weak-forbidden = It contains characters that can't be part of a password.
weak-classes = It needs more kinds of characters: capital letters, small letters, digits, others.
weak-old = You have used this password before.
weak-same = It is the password that you have now.
weak-too-young = Your last change was too recent. Try again later.
weak-directory = The directory does not take this password. Choose a longer one that is not like your old ones.
weak-mismatch = The two passwords are not the same.
