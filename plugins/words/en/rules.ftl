# What a password must be, and why one was not taken: the ids of `policy::password` in the core. The first kind is shown
# before anything is typed, the second after; both stand in lists, so they are sentences of their own.

## What it must be

rule-length = Use at least { $least ->
    [one] one character
   *[other] { $least } characters
}; longer is better. Spaces, accents and every script are welcome.
rule-own-words = Do not make it of your login name, your own names or your organisation’s name.
rule-common = Do not use a password that many people use.
rule-score = Make it hard to guess: three or four words that do not belong together do well.

## Why it was not taken

weakness-too-short = It is too short: it needs at least { $least ->
    [one] one character
   *[other] { $least } characters
}.
weakness-too-long = It is too long: it may have at most { $most ->
    [one] one character
   *[other] { $most } characters
}.
weakness-common = It is one of the commonest, or little more, and among the first that attackers try.
weakness-context-address = It is made of words of your address.
weakness-context-login = It is made of your login name.
weakness-context-name = It is made of your name.
weakness-context-organisation = It is made of words of your organisation.
weakness-forbidden-control = It has a control character, such as a tab or a line break.
weakness-forbidden-direction = It has an invisible mark that turns the direction of writing.
weakness-forbidden-invisible = It has an invisible character; some emoji are made with them.
weakness-forbidden-other = It has a character that no password can have.
weakness-forbidden-unassigned = It has a character that stands for nothing.
weakness-guessable = It is easy to guess. Add another word or two.
weakness-guessable-date = It is easy to guess: dates and years are tried early.
weakness-guessable-keyboard = It is easy to guess: neighbouring keys are tried early.
weakness-guessable-like-common = It is easy to guess: it is near to a common password.
weakness-guessable-name = It is easy to guess: names are tried early.
weakness-guessable-repeat = It is easy to guess: it repeats itself.
weakness-guessable-sequence = It is easy to guess: sequences such as abcd are tried early.
weakness-guessable-word = It is easy to guess: one word is not enough.
