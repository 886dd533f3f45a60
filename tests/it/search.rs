//! The search for secrets finds what it looks for, in every place and form.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use rekeyd_tests::{process::Process, procfs, scratch, secrets, tests};

tests! {
    fn rig_secrets_are_found_in_every_form;
    fn rig_secrets_are_found_in_what_the_kernel_shows;
}

fn rig_secrets_are_found_in_what_the_kernel_shows() {
    let folder = scratch::folder("kernel");
    let secret = "correct-horse-battery";
    let search = secrets::Search::new(&[secret.to_owned()]);
    let open = folder.join(secret);
    let script = format!("exec 9>{}; : $0; sleep 60", open.display());
    for (argument, environment) in [(secret, ""), ("", secret), ("", "")] {
        let environment = [("SOME_VALUE", environment)];
        let shell = Path::new("/bin/sh");
        let process = Process::start_in(shell, &["-c", &script, argument], &environment, &folder.join("log"));
        let start = Instant::now();
        let holding = || -> Vec<String> {
            let texts = procfs::texts(process.pid());
            texts.iter().flat_map(|(name, bytes)| search.in_bytes(name, bytes)).collect()
        };
        let has_opened = || holding().iter().any(|place| place.contains("/fd/9"));
        // The program becomes itself, and opens its file, in its own time. Only then all of it is looked at: what was
        // read before the file may still be of the time before.
        while !has_opened() && start.elapsed() < Duration::from_secs(20) {}
        let found = holding();
        assert!(found.iter().any(|place| place.contains("/fd/9")), "{found:?}");
        let has = |part: &str| found.iter().any(|place| place.contains(part));
        assert_eq!((has("cmdline"), has("environ")), (true, !environment[0].1.is_empty()), "{found:?}");
    }
}

fn rig_secrets_are_found_in_every_form() {
    let folder = scratch::folder("secrets");
    let secret = "correct horse/é";
    let hidden = |form: &str| {
        fs::write(folder.join("log"), format!("before{form}after")).expect("a written file");
        secrets::found_in(&folder, &["absent altogether".to_owned(), secret.to_owned()]).len()
    };
    let base64 = |before: &str| BASE64.encode(format!("{before}{secret}after").as_bytes());
    let wide: String = secret.chars().flat_map(|letter| [letter, '\0']).take(26).collect();
    let forms = [
        secret.to_owned(),
        HEXLOWER.encode(secret.as_bytes()),
        HEXUPPER.encode(secret.as_bytes()),
        base64(""),
        base64("x"),
        base64("xx"),
        "correct%20horse%2F%C3%A9".to_owned(),
        "correct%20horse%2f%c3%a9".to_owned(),
        "correct+horse%2F%C3%A9".to_owned(),
        "correct horse\\/é".to_owned(),
        "correct horse/\\u00e9".to_owned(),
        "correct ho=\r\nrse/=C3=A9".to_owned(),
        "correct horse/\\xc3\\xa9".to_owned(),
        format!("{:?}", secret.as_bytes()),
        format!("{:?}", secret.as_bytes()).replace(' ', ""),
    ];
    for form in forms {
        assert_ne!(hidden(&form), 0, "{form}");
    }
    assert_eq!(hidden(&wide), 0, "half of it is not it");
    let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(!secrets::Search::new(&[secret.to_owned()]).in_bytes("some bytes", &utf16).is_empty());
    // The bytes of a key are as good as its text.
    let key = [7_u8, 200, 13, 99].repeat(8);
    let search = secrets::Search::new(&[BASE64.encode(&key)]);
    for bytes in [key.clone(), key[16..].to_vec(), HEXLOWER.encode(&key).into_bytes()] {
        assert!(!search.in_bytes("some bytes", &bytes).is_empty(), "{bytes:?}");
    }
    assert_eq!(hidden("correct horse"), 0);
}
