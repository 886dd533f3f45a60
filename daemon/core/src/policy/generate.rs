//! A password that an operator can read out or write on a slip: groups that can be spoken, then two digits.

use zeroize::Zeroizing;

/// Consonants and vowels that sound and look different from each other in most languages and hands.
const CONSONANTS: &[u8; 11] = b"bdlmnprstvz";
const VOWELS: &[u8; 5] = b"aeiou";
/// Groups in which somebody would read something else are drawn again.
const UNFORTUNATE: [&str; 6] = ["nazi", "nud", "penis", "rape", "semen", "tit"];

/// Draws a text such as `Tavor-nirel-dosum-petal-47` of at least `least` characters: about 15 bits a group and 6 for the
/// digits, so 66 bits at least.
pub(super) fn spoken(least: u32, chance: &mut dyn FnMut(&mut [u8])) -> Zeroizing<String> {
    let groups = least.div_ceil(6).max(4);
    let mut text = Zeroizing::new(String::with_capacity(groups as usize * 6 + 2));
    for number in 0..groups as usize {
        let mut group = group(chance);
        while UNFORTUNATE.iter().any(|word| group.contains(word)) {
            group = self::group(chance);
        }
        let letters = group.char_indices();
        text.extend(letters.map(|(at, c)| if number + at == 0 { c.to_ascii_uppercase() } else { c }));
        text.push('-');
    }
    for _ in 0..2 {
        text.push(char::from(pick(b"0123456789", chance)));
    }
    text
}

fn group(chance: &mut dyn FnMut(&mut [u8])) -> Zeroizing<String> {
    let mut group = Zeroizing::new(String::with_capacity(5));
    for place in 0..5 {
        let alphabet: &[u8] = if place % 2 == 0 { CONSONANTS } else { VOWELS };
        group.push(char::from(pick(alphabet, chance)));
    }
    group
}

/// One of the bytes, each as likely as the other: a drawn byte beyond the last whole multiple is drawn again.
fn pick(from: &[u8], chance: &mut dyn FnMut(&mut [u8])) -> u8 {
    let usable = 256 - 256 % from.len();
    loop {
        let mut byte = Zeroizing::new([0; 1]);
        chance(byte.as_mut_slice());
        let [value] = *byte;
        if usize::from(value) < usable
            && let Some(picked) = from.get(usize::from(value) % from.len())
        {
            return *picked;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    /// A source of chance with a long period that is the same in every run.
    fn counted() -> impl FnMut(&mut [u8]) {
        let mut state = 1u64;
        move |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = state.to_be_bytes()[0];
            }
        }
    }

    #[test]
    fn every_choice_is_as_likely() {
        let mut chance = counted();
        let mut counts = [0u32; 256];
        for _ in 0..11_000 {
            counts[usize::from(pick(CONSONANTS, &mut chance))] += 1;
        }
        for consonant in CONSONANTS {
            assert!((850..1150).contains(&counts[usize::from(*consonant)]), "{counts:?}");
        }
    }

    #[test]
    fn length_and_kinds_of_characters_fit_common_demands() {
        let mut chance = counted();
        for least in [8, 12, 26, 64] {
            let text = spoken(least, &mut chance);
            assert!(text.len() >= least as usize && text.len() >= 26, "{}", *text);
            for kind in [char::is_uppercase as fn(char) -> bool, char::is_lowercase, char::is_numeric, |c| c == '-'] {
                assert!(text.contains(kind), "{}", *text);
            }
        }
    }
}
