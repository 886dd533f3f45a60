//! The pages: what each shows, and how templates, words and the organisation's names make it HTML.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use rekeyd_core::domain::{Purpose, Timestamp};

use super::{answer, language};
use crate::flow::Identity;
use crate::flow::reset::Opened;

/// The one style sheet; it stands in every page, and its hash in the content security policy.
pub(super) const STYLE: &str = include_str!("../../templates/style.css");
/// The icon in the browser's tab.
pub(super) const ICON: &str = include_str!("../../templates/icon.svg");

/// Says a text of the language files with its arguments.
pub(super) type Say = Arc<dyn Fn(&str, &[(&str, &str)]) -> String + Send + Sync>;

/// A text of the language files, with what goes into it.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) id: Cow<'static, str>,
    pub(super) args: Vec<(&'static str, String)>,
}

impl Text {
    /// A text without arguments.
    pub(super) fn new(id: impl Into<Cow<'static, str>>) -> Self {
        Self { id: id.into(), args: Vec::new() }
    }

    /// The text with one argument more.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.args.push((name, value));
        self
    }

    fn said(&self, say: &Say) -> String {
        let args: Vec<_> = self.args.iter().map(|(name, value)| (*name, value.as_str())).collect();
        say(&self.id, &args)
    }
}

/// A page.
#[derive(Clone, Debug)]
pub(super) enum Page {
    /// Who forgot a password? With what is wrong with the answer given.
    Forgot(Option<Text>),
    /// Something is said, nothing asked.
    Message(Message),
    /// "This was not me": which login is it? With what is wrong with the answer given.
    NotMe(Option<Text>),
    /// A new password for an account.
    Reset(Box<Reset>),
}

/// Something to say: its title is `NAME-title`, its text `NAME-text`.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) mood: Mood,
    /// A text after the first that depends on the case.
    pub(super) more: Option<Text>,
    pub(super) next: Next,
}

impl Message {
    /// A message that is the same for everybody.
    pub(super) fn new(name: &'static str, mood: Mood, next: Next) -> Self {
        Self { name, mood, more: None, next }
    }

    /// Texts that stand as a list below.
    fn hints(&self) -> &'static [&'static str] {
        match self.name {
            "done" => &["done-everywhere", "done-notice"],
            "gone" => &["gone-newest", "gone-still"],
            "not-me-done" => &["not-me-done-links", "not-me-done-frozen", "not-me-done-changed"],
            "sent" => &["sent-wait", "sent-spam", "sent-still"],
            "unsure" => &["unsure-notice", "unsure-try"],
            _ => &[],
        }
    }
}

/// How a message looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Good,
    Trouble,
}

/// Where a message leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// To this same address.
    Again,
    /// To the begin.
    Forgot,
    Nothing,
    /// To the configured login page.
    SignIn,
}

/// The form for a new password.
#[derive(Clone, Debug)]
pub(super) struct Reset {
    pub(super) opened: Opened,
    /// Names this form, so that the same POST again shows the same result.
    pub(super) nonce: String,
    pub(super) troubles: Vec<Text>,
    /// Whether the repetition is what is wrong, rather than the password.
    pub(super) about_confirm: bool,
    pub(super) now: Timestamp,
}

/// What stands around every page.
pub(super) struct Frame<'f> {
    pub(super) identity: &'f Identity,
    /// The path in front of every page.
    pub(super) base: &'f str,
    /// The language that is spoken.
    pub(super) language: &'f str,
}

impl Page {
    /// A name under which the page can be kept, if it is the same for everybody.
    pub(super) fn still(&self) -> Option<&'static str> {
        match self {
            Self::Forgot(None) => Some("forgot"),
            Self::Message(Message { name, more: None, .. }) => Some(name),
            Self::NotMe(None) => Some("not-me"),
            Self::Forgot(_) | Self::Message(_) | Self::NotMe(_) | Self::Reset(_) => None,
        }
    }

    fn template(&self) -> &'static str {
        match self {
            Self::Forgot(_) => "forgot.html",
            Self::Message(_) => "message.html",
            Self::NotMe(_) => "not_me.html",
            Self::Reset(_) => "reset.html",
        }
    }

    fn context(&self, frame: &Frame<'_>, say: &Say) -> Value {
        match self {
            Self::Forgot(trouble) | Self::NotMe(trouble) => {
                context! { trouble => Value::from(trouble.as_ref().map(|text| text.said(say))) }
            }
            Self::Message(message) => {
                let hints: Vec<_> = message.hints().iter().map(|id| Value::from(say(id, &[]))).collect();
                let (url, label) = match message.next {
                    Next::Again => (Some(String::new()), "next-again"),
                    Next::Forgot => (Some(format!("{}/forgot", frame.base)), "next-forgot"),
                    Next::Nothing => (None, "next-forgot"),
                    Next::SignIn => (frame.identity.sign_in_url.clone(), "next-sign-in"),
                };
                context! {
                    title => say(&format!("{}-title", message.name), &[]),
                    text => say(&format!("{}-text", message.name), &[]),
                    more => Value::from(message.more.as_ref().map(|text| text.said(say))),
                    hints => Value::from(hints),
                    good => matches!(message.mood, Mood::Good),
                    url => Value::from(url),
                    label => say(label, &[]),
                }
            }
            Self::Reset(reset) => {
                let said = |texts: &[Text]| Value::from(texts.iter().map(|text| text.said(say)).collect::<Vec<_>>());
                let left = reset
                    .opened
                    .expires
                    .map(|expires| answer::per_unit("reset-life", expires.since(reset.now)).said(say));
                context! {
                    activation => reset.opened.purpose == Purpose::Activation,
                    login => reset.opened.login.clone(),
                    rules => said(&answer::rules(&reset.opened.rules)),
                    min_length => reset.opened.rules.min_length,
                    max_length => reset.opened.rules.max_length,
                    troubles => said(&reset.troubles),
                    about_confirm => reset.about_confirm,
                    left => Value::from(left),
                    nonce => reset.nonce.clone(),
                }
            }
        }
    }
}

/// The templates, read once.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Reads the built-in templates.
    ///
    /// # Errors
    /// Where one is broken, which a test would have said.
    pub(super) fn new() -> Result<Self, Error> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.add_template("forgot.html", include_str!("../../templates/forgot.html"))?;
        templates.add_template("layout.html", include_str!("../../templates/layout.html"))?;
        templates.add_template("message.html", include_str!("../../templates/message.html"))?;
        templates.add_template("not_me.html", include_str!("../../templates/not_me.html"))?;
        templates.add_template("reset.html", include_str!("../../templates/reset.html"))?;
        Ok(Self(templates))
    }

    /// The HTML of a page.
    ///
    /// # Errors
    /// Where a template asks for what a page does not have.
    pub(super) fn render(&self, page: &Page, frame: &Frame<'_>, say: &Say) -> Result<String, Error> {
        let identity = frame.identity;
        let speaker = Arc::clone(say);
        let speak = move |id: &str, args: Kwargs| -> Result<String, Error> {
            let mut named = Vec::new();
            for name in args.args() {
                named.push((name, args.get::<Value>(name)?.to_string()));
            }
            let named: Vec<_> = named.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let said = speaker(id, &named);
            if said.is_empty() { Err(Error::new(ErrorKind::InvalidOperation, "a text is missing")) } else { Ok(said) }
        };
        let outer = context! {
            say => Value::from_function(speak),
            language => frame.language,
            direction => language::direction(frame.language),
            base => frame.base,
            style => Value::from_safe_string(STYLE.to_owned()),
            organisation => identity.organisation.as_str(),
            service => identity.service.as_str(),
            help => identity.help.as_str(),
            help_url => Value::from(identity.help_url.clone()),
        };
        let inner = page.context(frame, say);
        self.0.get_template(page.template())?.render(context! { ..inner, ..outer })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::time::Duration;

    use rekeyd_core::domain::RequestId;
    use rekeyd_core::flavour::{Demands, Rejection};
    use rekeyd_core::policy::password::{self, Pattern, Weakness};
    use rekeyd_core::policy::rules::PasswordRules;
    use rekeyd_plugins::Words;

    use super::*;
    use crate::flow::reset::SetOutcome;
    use crate::flow::{forgotten, not_me};

    fn say() -> Say {
        let words = Words::built_in().unwrap();
        Arc::new(move |id, args| {
            assert!(words.missing_ids(&[id]).is_empty(), "{id} is in no language file");
            words.say(&[], id, args)
        })
    }

    fn identity() -> Identity {
        Identity {
            organisation: "Ann & Bob <script>alert(1)</script>".into(),
            service: "Account help".into(),
            help: "Call 555 \"now\"".into(),
            help_url: Some("https://help.example.org/?a=1&b='2'".into()),
            sign_in_url: Some("https://login.example.org/".into()),
            public_url: "https://reset.example.org".into(),
        }
    }

    fn render(page: &Page) -> String {
        let frame = Frame { identity: &identity(), base: "", language: "en" };
        Templates::new().unwrap().render(page, &frame, &say()).unwrap()
    }

    const ACCEPTED: forgotten::Accepted =
        forgotten::Accepted::Accepted { request: RequestId::from_bytes([0; 22]), expires_in: Duration::from_hours(24) };

    fn opened(login: &str) -> Opened {
        let now = Timestamp::from_millis(0);
        Opened {
            purpose: Purpose::Reset,
            login: login.into(),
            expires: Some(now.plus(Duration::from_mins(25))),
            rules: PasswordRules::default(),
        }
    }

    fn reset(login: &str, troubles: Vec<Text>) -> Page {
        Page::Reset(Box::new(Reset {
            opened: opened(login),
            nonce: "AAAAAAAAAAAAAAAAAAAAAA".into(),
            troubles,
            about_confirm: false,
            now: Timestamp::from_millis(0),
        }))
    }

    fn every_page() -> Vec<Page> {
        let names = [
            "bad-request",
            "busy",
            "done",
            "fault",
            "foreign-site",
            "gone",
            "method",
            "misdirected",
            "not-found",
            "not-me-done",
            "not-me-gone",
            "refused",
            "rejected",
            "sent",
            "too-often",
            "unavailable",
            "unsure",
        ];
        let mut pages: Vec<_> = names
            .into_iter()
            .zip([Next::Again, Next::Forgot, Next::Nothing, Next::SignIn].into_iter().cycle())
            .map(|(name, next)| Page::Message(Message::new(name, Mood::Good, next)))
            .collect();
        let trouble = || Text::new("forgot-empty");
        pages.extend([
            Page::Forgot(None),
            Page::Forgot(Some(trouble())),
            Page::NotMe(None),
            Page::NotMe(Some(trouble())),
        ]);
        pages.extend([reset("ada", Vec::new()), reset("ada", vec![trouble(), trouble()])]);
        pages
    }

    #[test]
    fn every_page_reads_as_it_was_reviewed() {
        let now = Timestamp::from_millis(0);
        let other = |outcome| match answer::set_page(outcome, now) {
            answer::SetPage::Other(_, page) => page,
            answer::SetPage::Form(troubles) => reset("ada", troubles),
        };
        let weak = vec![Weakness::TooShort(12), Weakness::Guessable(Pattern::Keyboard)];
        let pages = [
            ("forgot", Page::Forgot(None)),
            ("sent", answer::forgotten_page(ACCEPTED).1),
            ("too-often", answer::forgotten_page(forgotten::Accepted::TooOften(Duration::from_mins(9))).1),
            ("reset", reset("ada", Vec::new())),
            ("reset-weak", other(SetOutcome::Weak(weak))),
            (
                "reset-rejected",
                other(SetOutcome::Rejected {
                    rejection: Rejection::InHistory,
                    demands: Demands::default(),
                    again: true,
                }),
            ),
            ("done", other(SetOutcome::Set { locked_until: None })),
            ("gone", other(SetOutcome::Gone)),
            ("refused", other(SetOutcome::Refused { reference: "7M2K-9Q4T".into() })),
            ("unavailable", other(SetOutcome::Unavailable)),
            ("unsure", other(SetOutcome::Unsure)),
            ("not-me", Page::NotMe(None)),
            ("not-me-done", answer::not_me_page(not_me::Outcome::Done).unwrap().1),
        ];
        let identity = Identity {
            organisation: "Example University".into(),
            service: "Example account".into(),
            help: "the service desk, room 101".into(),
            help_url: Some("https://www.example.org/help".into()),
            sign_in_url: Some("https://login.example.org/".into()),
            public_url: "https://reset.example.org".into(),
        };
        let frame = Frame { identity: &identity, base: "", language: "en" };
        for (name, page) in pages {
            let html = Templates::new().unwrap().render(&page, &frame, &say()).unwrap();
            insta::assert_snapshot!(name, html.replace(STYLE, "…"));
        }
    }

    #[test]
    fn t102_no_page_runs_or_fetches_anything() {
        for page in every_page() {
            let html = render(&page).to_ascii_lowercase();
            for never in ["<script", "javascript:", " onload", " onclick", " style=", "src=\"http", "@import", "url("] {
                assert!(!html.contains(never), "{never} {page:?}");
            }
        }
    }

    #[test]
    fn every_page_is_complete() {
        for page in every_page() {
            let html = render(&page);
            assert!(html.starts_with("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">"), "{page:?}");
            assert!(html.trim_end().ends_with("</html>"), "{page:?}");
            assert!(html.contains("name=\"viewport\""));
            assert!(html.contains("Ann &amp; Bob &lt;script&gt;"), "{page:?}");
            assert_eq!(html.matches("<h1").count(), 1, "{page:?}");
            assert_eq!(html.matches("<main").count(), 1, "{page:?}");
            for input in html.split("<input").skip(1).filter(|input| !input.contains("type=\"hidden\"")) {
                let id = input.split("id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                assert!(html.contains(&format!("<label for=\"{id}\"")), "{id} has no label");
            }
            for described in html.split("aria-describedby=\"").skip(1) {
                for id in described.split('"').next().unwrap().split(' ') {
                    assert!(html.contains(&format!("id=\"{id}\"")), "{id} describes nothing in {page:?}");
                }
            }
        }
    }

    #[test]
    fn t102_what_comes_from_outside_stays_text() {
        for canary in ["<b>x", "\"><img src=x>", "'onfocus='x", "{{ 7*7 }}", "</title><script>"] {
            let html = render(&reset(canary, Vec::new()));
            assert!(!html.contains(canary) || canary == "{{ 7*7 }}", "{canary}");
            assert!(!html.contains("<img") && !html.contains("<script"));
        }
    }

    #[test]
    fn password_managers_find_their_fields() {
        let html = render(&reset("ada", Vec::new()));
        assert!(html.contains("autocomplete=\"username\"") && html.contains("value=\"ada\""));
        assert_eq!(html.matches("autocomplete=\"new-password\"").count(), 2);
        assert!(html.contains("name=\"password\"") && html.contains("name=\"confirm\""));
        assert_eq!(html.matches(" name=\"login\"").count(), 0, "the account comes from the link alone");
        assert!(render(&Page::Forgot(None)).contains("autocomplete=\"username\""));
    }

    #[test]
    fn errors_are_tied_to_their_field() {
        let html = render(&reset("ada", vec![Text::new("weakness-too-short").with("least", "12".into())]));
        assert!(html.contains("aria-invalid=\"true\""));
        assert!(html.contains("href=\"#password\""));
        assert!(html.contains("too short"));
        assert!(!render(&reset("ada", Vec::new())).contains("aria-invalid=\"true\""));
    }

    #[test]
    fn every_text_of_a_template_is_in_the_language_file() {
        let words = Words::built_in().unwrap();
        let exists = |id: &str| words.missing_ids(&[id]).is_empty();
        for template in [
            include_str!("../../templates/forgot.html"),
            include_str!("../../templates/layout.html"),
            include_str!("../../templates/message.html"),
            include_str!("../../templates/not_me.html"),
            include_str!("../../templates/reset.html"),
        ] {
            for said in template.split("say(\"").skip(1) {
                let id = said.split('"').next().unwrap();
                assert!(exists(id), "{id} is in no language file");
            }
        }
        for source in [include_str!("answer.rs"), include_str!("pages.rs")] {
            for id in source.split("Text::new(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(exists(id), "{id} is in no language file");
            }
        }
        let ids = Weakness::ALL.iter().map(|weakness| weakness.id().to_owned());
        let ids = ids.chain(password::describe(&PasswordRules::default()).into_iter().map(|rule| rule.id.to_owned()));
        let rejections = [
            Rejection::InHistory,
            Rejection::MissingRight(String::new()),
            Rejection::MustSupplyOld,
            Rejection::NoTls(String::new()),
            Rejection::NotAllowed,
            Rejection::NotComplex,
            Rejection::Other(String::new()),
            Rejection::Protected(String::new()),
            Rejection::TooLong,
            Rejection::TooShort,
            Rejection::TooYoung,
        ];
        for id in ids.chain(rejections.iter().map(|rejection| format!("rejected-{}", rejection.code()))) {
            assert!(exists(&id), "{id} is in no language file");
        }
        for id in ["demands-length", "demands-history", "demands-complex"] {
            assert!(exists(id), "{id}");
        }
        for id in ["too-often", "done-locked", "reset-life", "demands-wait"] {
            for unit in ["minutes", "hours", "days"] {
                assert!(exists(&format!("{id}-{unit}")), "{id}-{unit}");
            }
        }
    }
}
