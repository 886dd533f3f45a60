//! A table of any length whose counts come first and whose columns are aligned: its rows wait in a file that nobody else can
//! open and that is gone with the program, so that memory stays small however many there are.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use rekeyd_core::text::escaped;
use ring::rand::{SecureRandom, SystemRandom};

use super::call::Failure;

/// Columns wider than this don't widen the others' margins.
const WIDEST: usize = 60;

/// Rows that wait.
pub(super) struct Spool {
    file: BufWriter<File>,
    head: Vec<&'static str>,
    widths: Vec<usize>,
    rows: u64,
}

impl Spool {
    /// An empty one.
    ///
    /// # Errors
    /// Where no file can be made in the folder for temporary files.
    pub(super) fn new(head: &[&'static str]) -> Result<Self, Failure> {
        let mut chance = [0_u8; 8];
        SystemRandom::new().fill(&mut chance).map_err(|_| Failure::Failed("the system gives no chance".into()))?;
        let path = std::env::temp_dir().join(format!("rekeyctl-{}", data_encoding::HEXLOWER.encode(&chance)));
        let failed = |error: std::io::Error| {
            Failure::Failed(format!("{}: {error}; TMPDIR names another folder", path.display()))
        };
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        let widths = head.iter().map(|title| title.chars().count()).collect();
        Ok(Self { file: BufWriter::new(file), head: head.to_vec(), widths, rows: 0 })
    }

    /// Adds a row. Cells are made harmless here.
    ///
    /// # Errors
    /// Where the disk is full.
    pub(super) fn add(&mut self, cells: &[&str]) -> Result<(), Failure> {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.chars().count().min(WIDEST).max(*width);
        }
        self.rows += 1;
        writeln!(self.file, "{}", cells.join("\t"))
            .map_err(|error| Failure::Failed(format!("a temporary file: {error}")))
    }

    /// Prints all of them below their head; nothing where there is none.
    ///
    /// # Errors
    /// Where the file can't be read again.
    pub(super) fn print(self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("a temporary file: {error}"));
        let Self { file, head, widths, rows } = self;
        if rows == 0 {
            return Ok(());
        }
        let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let titles: Vec<String> = head.iter().map(|title| title.to_uppercase()).collect();
        let mut whole = writeln!(out, "{}", aligned(titles.iter().map(String::as_str), &widths));
        for line in BufReader::new(file).lines() {
            let line = line.map_err(failed)?;
            whole = whole.and_then(|()| writeln!(out, "{}", aligned(line.split('\t'), &widths)));
            if whole.is_err() {
                // A reader that has gone away wants no more.
                return Ok(());
            }
        }
        drop(out.flush());
        Ok(())
    }
}

fn aligned<'c>(cells: impl Iterator<Item = &'c str>, widths: &[usize]) -> String {
    let padded = cells.zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn columns_are_aligned() {
        assert_eq!(aligned(["a", "löv", ""].into_iter(), &[3, 5, 4]), "a    löv");
        assert_eq!(aligned(["abcd", "x"].into_iter(), &[3, 5]), "abcd  x");
    }
}
