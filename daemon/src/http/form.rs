//! Reads the body of a form, strictly: known fields only, each at most once, and everything must decode.

use rekeyd_core::text::form_decoded;
use zeroize::Zeroizing;

/// Why a body is no such form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadForm {
    /// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
    Encoding,
    /// A field twice.
    Repeated,
    /// A field that this form does not have.
    Unknown,
}

/// The fields of a form. Values are wiped when dropped, since passwords are among them.
pub struct Form(Vec<(&'static str, Zeroizing<String>)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded` with at most the `known` fields.
    ///
    /// # Errors
    /// [`BadForm`] for anything that a browser would not send from this form.
    pub fn parse(body: &[u8], known: &[&'static str]) -> Result<Self, BadForm> {
        let mut fields: Vec<(&'static str, Zeroizing<String>)> = Vec::with_capacity(known.len());
        if body.is_empty() {
            return Ok(Self(fields));
        }
        for pair in body.split(|byte| *byte == b'&') {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            let name = form_decoded(name).ok_or(BadForm::Encoding)?;
            let name = known.iter().find(|known| **known == name.as_str()).ok_or(BadForm::Unknown)?;
            if fields.iter().any(|(there, _)| there == name) {
                return Err(BadForm::Repeated);
            }
            fields.push((name, form_decoded(value).ok_or(BadForm::Encoding)?));
        }
        Ok(Self(fields))
    }

    /// What a field holds; a field that is not there reads as an empty one.
    pub fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(there, _)| *there == name).map_or("", |(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8]) -> Result<(String, String), BadForm> {
        let form = Form::parse(body, &["login", "password"])?;
        Ok((form.field("login").to_owned(), form.field("password").to_owned()))
    }

    #[test]
    fn browsers_forms_are_read() {
        for (body, login, password) in [
            ("", "", ""),
            ("login=ada", "ada", ""),
            ("login=", "", ""),
            ("login", "", ""),
            ("login=a%20b+c", "a b c", ""),
            ("password=a%26b%3Dc%25&login=%C3%A9", "\u{e9}", "a&b=c%"),
            ("login=a=b", "a=b", ""),
            ("%6Cogin=ada", "ada", ""),
            ("login=a@x,b@y", "a@x,b@y", ""),
        ] {
            assert_eq!(fields(body.as_bytes()), Ok((login.into(), password.into())), "{body}");
        }
    }

    #[test]
    fn t1_one_scalar_a_field_or_nothing() {
        for (body, why) in [
            (&b"login=a&login=b"[..], BadForm::Repeated),
            (b"login=a&%6cogin=b", BadForm::Repeated),
            (b"login[]=a", BadForm::Unknown),
            (b"login[0]=a", BadForm::Unknown),
            (b"login%00=a", BadForm::Unknown),
            (b"Login=a", BadForm::Unknown),
            (b"login=a&", BadForm::Unknown),
            (b"&", BadForm::Unknown),
            (b"login=a&account=b", BadForm::Unknown),
            (b"login=a;password=b&x", BadForm::Unknown),
            (b"{\"login\":\"a\"}", BadForm::Unknown),
            (b"login=%", BadForm::Encoding),
            (b"login=%4", BadForm::Encoding),
            (b"login=%zz", BadForm::Encoding),
            (b"login=%+1", BadForm::Encoding),
            (b"login=%ff", BadForm::Encoding),
            (b"login=\xff", BadForm::Encoding),
            (b"login=%c0%af", BadForm::Encoding),
            (b"login=%ed%a0%80", BadForm::Encoding),
        ] {
            assert_eq!(fields(body), Err(why), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn every_short_body_ends_in_an_answer() {
        let alphabet = b"a=&%+4\xc3\xa9[";
        let mut body = Vec::new();
        for one in alphabet {
            for two in alphabet {
                for three in alphabet {
                    for four in alphabet {
                        body.clear();
                        body.extend([*one, *two, *three, *four]);
                        if let Ok(form) = Form::parse(&body, &["a"]) {
                            assert!(form.field("a").len() <= 4);
                        }
                    }
                }
            }
        }
    }
}
