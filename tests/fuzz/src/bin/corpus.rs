//! Carries a corpus between its file and the folder that a fuzzer works in.

use std::{env, ffi::OsStr, fs, io, process::ExitCode};

use rekeyd_fuzz::{TARGETS, corpus};

const USAGE: &str = "corpus list | corpus unpack TARGET FOLDER | corpus pack TARGET FOLDER";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &[&OsStr]) -> io::Result<()> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, USAGE);
    match arguments {
        [verb] if *verb == "list" => {
            for target in TARGETS {
                println!("{:17}{}", target.name, target.what);
            }
            Ok(())
        }
        [verb, target, folder] => {
            let target = TARGETS.iter().find(|known| target.to_str() == Some(known.name)).ok_or_else(usage)?;
            let file = corpus::file(target.name);
            match verb.to_str() {
                Some("unpack") => {
                    fs::create_dir_all(folder)?;
                    let folder = std::path::Path::new(folder);
                    for (number, input) in corpus::read(&file)?.into_iter().enumerate() {
                        fs::write(folder.join(format!("kept-{number:04}")), input)?;
                    }
                    Ok(())
                }
                Some("pack") => {
                    let inputs =
                        fs::read_dir(folder)?.map(|entry| fs::read(entry?.path())).collect::<Result<_, _>>()?;
                    corpus::write(&file, inputs)
                }
                _ => Err(usage()),
            }
        }
        _ => Err(usage()),
    }
}
