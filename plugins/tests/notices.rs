//! What people read: each message in English to the byte, whatever the directory says of them, and an operator's own
//! templates and words.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{MESSAGES, channel, messages, notice, recipient};
use rekeyd_core::domain::{Notice, NoticeKind};
use rekeyd_plugins::Delivered;

/// The letter of a notice, as the file channel writes it.
async fn letter(notice: &Notice) -> String {
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(
        &format!("kind = \"file\"\nfolder = \"{}\"\nfrom = \"no-reply@example.org\"", folder.path().display()),
        &messages(MESSAGES).unwrap(),
    );
    assert_eq!(channel.deliver(&recipient("Ada.L@bücher.example"), notice).await, Delivered::Delivered);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    String::from_utf8(fs::read(&files[0]).unwrap()).unwrap()
}

#[tokio::test]
async fn every_notice_in_english() {
    for kind in NoticeKind::ALL {
        let rendered = messages(MESSAGES).unwrap().render(&notice(kind)).unwrap();
        let word = kind.word();
        insta::assert_snapshot!(format!("{word}.txt"), format!("{}\n\n{}", rendered.subject, *rendered.text));
        insta::assert_snapshot!(format!("{word}.html"), &*rendered.html);
        insta::assert_snapshot!(format!("{word}.eml"), letter(&notice(kind)).await.replace("\r\n", "\n"));
    }
}

#[test]
fn t13_every_notice_says_for_what_for_whom_and_that_nobody_asks() {
    for kind in NoticeKind::ALL {
        let rendered = messages(MESSAGES).unwrap().render(&notice(kind)).unwrap();
        for text in [&rendered.text, &rendered.html] {
            for part in ["Campus Login", "Example University", "ada", "Nobody will ever ask you for", "18:40"] {
                assert!(text.contains(part), "{} lacks {part}", kind.word());
            }
        }
        let with_link = matches!(kind, NoticeKind::ActivationLink | NoticeKind::ResetLink);
        assert_eq!(rendered.text.contains("/r/"), with_link);
        assert_eq!(rendered.text.contains("30 minutes"), with_link);
    }
}

#[tokio::test]
async fn p5_the_same_notice_is_the_same_letter_to_the_byte() {
    for kind in NoticeKind::ALL {
        assert_eq!(letter(&notice(kind)).await, letter(&notice(kind)).await);
    }
}

#[tokio::test]
async fn file_a_repeat_replaces_its_own_file_which_only_the_service_reads() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("a/mail");
    let section = format!("kind = \"file\"\nfolder = \"{}\"\nfrom = \"no-reply@example.org\"", inside.display());
    let channel = channel(&section, &messages(MESSAGES).unwrap());
    assert!(channel.probe().await.unwrap().contains("a/mail"));
    for _ in 0..2 {
        let delivered = channel.deliver(&recipient("ada@example.org"), &notice(NoticeKind::ResetLink)).await;
        assert_eq!(delivered, Delivered::Delivered);
    }
    let files: Vec<_> = fs::read_dir(&inside).unwrap().map(|item| item.unwrap()).collect();
    let names: Vec<_> = files.iter().map(|file| file.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["20261120T184000Z-reset-link-WlpaWlpaWlpaWlpaWlpaWlpaWlpaWg.eml"]);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);

    fs::remove_dir_all(&inside).unwrap();
    fs::write(&inside, "").unwrap();
    assert!(channel.probe().await.is_err());
    let delivered = channel.deliver(&recipient("ada@example.org"), &notice(NoticeKind::ResetLink)).await;
    assert!(matches!(delivered, Delivered::Later(_)));
}

#[tokio::test]
async fn t80_t81_t83_what_a_directory_says_of_people_stays_text() {
    let usual = letter(&notice(NoticeKind::ResetLink)).await;
    let usual_words = messages(MESSAGES).unwrap().render(&notice(NoticeKind::ResetLink)).unwrap();
    let fields = |letter: &str| {
        let head = letter.split("\r\n\r\n").next().unwrap().to_owned();
        head.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let long = "A".repeat(10_240);
    for text in [
        "Ada\r\nBcc: victim@example.org",
        "\r\n.\r\nMAIL FROM:<x@example.org>\r\n",
        ".\n.\n..",
        "Ada\u{2028}Bcc: x\u{2029}y",
        "=?utf-8?q?=0D=0ABcc:_x?=",
        "<a href=//evil.example>Click</a>",
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "evil.example/login",
        "http://evil.example/login",
        "{{7*7}}",
        "{% raw %}${x}{{ link }}",
        "${x}",
        "{ $link }",
        "a\u{202e}gnp.exe\u{2066}\u{200f}",
        "a\0b\u{7}",
        &long,
    ] {
        let mut notice = notice(NoticeKind::ResetLink);
        (notice.login, notice.name) = (text.to_owned(), Some(text.to_owned()));
        let letter = letter(&notice).await;
        assert_eq!(fields(&letter), fields(&usual), "{text}");
        assert_eq!(letter.matches("\r\n").count(), letter.matches('\n').count(), "{text}");
        assert!(letter.is_ascii() && letter.lines().all(|line| line.len() <= 78), "{text}");
        assert!(!letter.contains("\r\nBcc"), "{text}");

        let rendered = messages(MESSAGES).unwrap().render(&notice).unwrap();
        assert_eq!(rendered.subject, "Set a new password for Campus Login");
        for bad in ["<a href=/ ", "<script", "<img"] {
            assert!(!rendered.html.contains(bad), "{bad} in the HTML of {text}");
        }
        for (body, part) in [(&rendered.text, "text"), (&rendered.html, "html")] {
            for bad in ["evil.example", "//evil", "49", "\u{202e}", "\u{2028}", "\u{0}"] {
                assert!(!body.contains(bad), "{bad} in the {part} of {text}");
            }
            assert!(!body.contains(&"A".repeat(65)), "{part}");
            let links = |body: &str| body.matches("://").count();
            let usual = if part == "text" { &usual_words.text } else { &usual_words.html };
            assert_eq!(links(body), links(usual), "links in the {part} of {text}");
        }
    }
}

#[test]
fn t50_notices_without_a_link_hold_no_token() {
    for kind in [NoticeKind::PasswordReplaced, NoticeKind::RecoveryRefused] {
        let rendered = messages(MESSAGES).unwrap().render(&notice(kind)).unwrap();
        assert!(!rendered.text.contains("reset.example.org") && !rendered.html.contains("reset.example.org"));
    }
    let mut broken = notice(NoticeKind::ResetLink);
    broken.link = None;
    assert_eq!(
        messages(MESSAGES).unwrap().render(&broken).err().unwrap(),
        "a message of the kind reset-link has no link"
    );
}

#[test]
fn t86_an_operators_template_is_proved_when_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("reset-link");
    fs::create_dir(&templates).unwrap();
    let section = format!("{MESSAGES}templates = \"{}\"\n", folder.path().display());
    let with = |file: &str, text: &str| {
        fs::write(folder.path().join(file), text).unwrap();
        let loaded = messages(&section);
        fs::remove_file(folder.path().join(file)).unwrap();
        let place = format!("{}/", folder.path().display());
        loaded.map_err(|faults| faults.join("\n").replace(&place, ""))
    };

    let fine = with("reset-link/subject.txt", "{{ organisation }}: {{ login }}\n").unwrap();
    assert_eq!(fine.render(&notice(NoticeKind::ResetLink)).unwrap().subject, "Example University: ada");
    let fine = with("reset-link/body.html", "<p lang=\"{{ language }}\">{{ name }} {{ link }}</p>").unwrap();
    let mut hostile = notice(NoticeKind::ResetLink);
    hostile.name = Some("<b>&".to_owned());
    assert!(fine.render(&hostile).unwrap().html.starts_with("<p lang=\"en\">&lt;b&gt;&amp; https://reset."));

    for (file, text, fault) in [
        ("reset-link/subject.txt", "a\n{{ pasword }}", "reset-link/subject.txt:2: unknown variable pasword; known are"),
        (
            "reset-link/body.txt",
            "{% if not_me %}\n\n{{ frist }}{% endif %}",
            "reset-link/body.txt:3: unknown variable frist",
        ),
        (
            "reset-link/body.txt",
            "x\n{{ say(\"reset-lnk\") }}",
            "reset-link/body.txt:2: invalid operation: there is no text",
        ),
        ("reset-link/body.html", "<p>\n{% if link %}", "reset-link/body.html:2: syntax error"),
        ("reset-link/body.html", "{{ link|upcase }}", "reset-link/body.html:1: unknown filter"),
        ("reset-link/subject.txt", "{{ login }}\n{{ login }}", "reset-link/subject.txt: a subject is one line of text"),
        ("reset-link/boddy.txt", "x", "reset-link/boddy.txt: there is no template of this name"),
    ] {
        let faults = with(file, text).err().unwrap();
        assert!(faults.contains(fault), "{faults}");
    }
}

#[test]
fn an_operators_words_replace_and_translate() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("en.ftl"), "reset-link-subject = New password, { $login }\n").unwrap();
    fs::create_dir(folder.path().join("cy")).unwrap();
    fs::write(folder.path().join("cy/ours.ftl"), "greeting-name = Helo { $name },\n").unwrap();
    let section = format!("{MESSAGES}words = \"{}\"\n", folder.path().display());
    let loaded = messages(&section).unwrap();
    assert_eq!(loaded.render(&notice(NoticeKind::ResetLink)).unwrap().subject, "New password, ada");
    let mut welsh = notice(NoticeKind::ResetLink);
    welsh.languages = vec!["cy-GB".to_owned()];
    let rendered = loaded.render(&welsh).unwrap();
    assert!(rendered.text.starts_with("Helo Ada Lovelace,\n") && rendered.html.contains("lang=\"cy\""));
    assert!(rendered.text.contains("Campus Login"));

    fs::write(folder.path().join("cy/ours.ftl"), "greeting-name = Helo { $enw },\n").unwrap();
    let faults = messages(&section).err().unwrap().join("\n");
    assert!(faults.contains("cy/ours.ftl:1: $enw is not given to this text; given are $at"), "{faults}");
    let faults = messages("default_language = \"cy\"").err().unwrap();
    assert_eq!(
        faults,
        ["line 2: messages.words: the default language has no words; there are en. \
          Mend the language file, or name another default_language."]
    );
}

#[test]
fn the_section_names_every_fault() {
    let section = "organisation = \"\"\nhelp = \"a\\nb\"\nhelp_url = \"javascript:x\"\ntime_zone = \"Middle/Earth\"\n\
                   templates = \"t\"\nhlep = \"x\"";
    assert_eq!(
        messages(section).err().unwrap(),
        [
            "line 2: messages.organisation: it is empty. Write one line of text.",
            "line 3: messages.help: it has line breaks or control characters. Write one line of text.",
            "line 4: messages.help_url: it is not an address of the web or of mail. Write a whole address, such as \
             \"https://www.example.org/help\".",
            "line 5: messages.time_zone: this machine knows no such time zone; the package tzdata has them. Write a name of \
             the time zone database, such as \"Europe/London\" or \"UTC\".",
            "line 6: messages.templates: it is not an absolute path. Write the folder's path from the root.",
            "line 7: messages.hlep: no such key. Did you mean \"help\"?",
        ]
    );
}
