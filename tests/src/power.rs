//! A disk whose power is cut: what may be left of some files after any of the things that were done to them.
//!
//! Of each file there is what was written up to the last sync that came back, and of what was written later any part, torn
//! at sectors of 512 bytes. A file has its name once its folder was synced; of what became of names later there is any
//! beginning.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::trace::Deed;

const SECTOR: usize = 512;

/// Numbers that are the same in each run.
pub struct Chance(pub u64);

impl Chance {
    /// A number below another.
    pub fn below(&mut self, most: usize) -> usize {
        // The constants of Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most
    }
}

/// How much of what was not synced is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// All of it: the disk was quick.
    All,
    /// Nothing of it.
    Nothing,
    /// What chance says, write by write, torn or whole.
    Some,
}

#[derive(Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// As programs see it.
    length: usize,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Gone(PathBuf),
    Is(PathBuf, usize),
}

/// Some folders on such a disk.
#[derive(Clone, Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
}

impl Disk {
    /// Does one thing to it.
    pub fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Open { path, makes, empties } => {
                if !self.names.contains_key(path) && *makes {
                    self.files.push(File::default());
                    self.name(path, self.files.len() - 1);
                }
                if *empties {
                    self.truncate(path, 0);
                }
            }
            Deed::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.pending_names.push(Naming::Gone(from.clone()));
                    self.name(to, file);
                }
            }
            Deed::Unlink { path } => {
                self.names.remove(path);
                self.pending_names.push(Naming::Gone(path.clone()));
            }
            Deed::Truncate { path, length } => self.truncate(path, *length),
            Deed::Write { path, place, bytes } => {
                if let Some(file) = self.file(path) {
                    let place = place.unwrap_or(file.length);
                    file.length = file.length.max(place + bytes.len());
                    file.pending.push(Change::Write(place, bytes.clone()));
                }
            }
            Deed::Sync { path } => match self.file(path) {
                Some(file) => {
                    for change in std::mem::take(&mut file.pending) {
                        change.apply(&mut file.durable, &mut |_| true);
                    }
                }
                None => self.sync_folder(path),
            },
            Deed::Said { .. } => {}
        }
    }

    /// Writes what a power cut would leave into a folder, under the paths below `from`.
    pub fn cut(&self, left: Left, chance: &mut Chance, from: &Path, to: &Path) {
        let mut names = self.durable_names.clone();
        let kept = match left {
            Left::All => self.pending_names.len(),
            Left::Nothing => 0,
            Left::Some => chance.below(self.pending_names.len() + 1),
        };
        self.pending_names.iter().take(kept).for_each(|naming| naming.apply(&mut names));
        for (path, file) in names {
            let Ok(place) = path.strip_prefix(from) else { continue };
            let place = to.join(place);
            fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
            fs::write(place, self.files[file].left(left, chance)).expect("a file");
        }
    }

    fn name(&mut self, path: &Path, file: usize) {
        self.names.insert(path.to_owned(), file);
        self.pending_names.push(Naming::Is(path.to_owned(), file));
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.names.get(path).map(|file| &mut self.files[*file])
    }

    fn truncate(&mut self, path: &Path, length: usize) {
        if let Some(file) = self.file(path) {
            file.length = length;
            file.pending.push(Change::Length(length));
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        let (synced, others) = std::mem::take(&mut self.pending_names).into_iter().partition(|naming| {
            let (Naming::Gone(path) | Naming::Is(path, _)) = naming;
            path.parent() == Some(folder)
        });
        let synced: Vec<Naming> = synced;
        for naming in synced {
            naming.apply(&mut self.durable_names);
        }
        self.pending_names = others;
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Gone(path) => names.remove(path),
            Self::Is(path, file) => names.insert(path.clone(), *file),
        };
    }
}

impl File {
    fn left(&self, left: Left, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            match left {
                Left::Nothing => {}
                Left::All => change.apply(&mut bytes, &mut |_| true),
                Left::Some => match chance.below(4) {
                    0 => {}
                    1 => change.apply(&mut bytes, &mut |_| chance.below(2) == 0),
                    _ => change.apply(&mut bytes, &mut |_| true),
                },
            }
        }
        bytes
    }
}

impl Change {
    /// Applies it, as far as `reaches` says of each sector.
    fn apply(&self, bytes: &mut Vec<u8>, reaches: &mut dyn FnMut(usize) -> bool) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(place, written) => {
                let end = place + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let mut at = *place;
                while at < end {
                    let next = ((at / SECTOR + 1) * SECTOR).min(end);
                    if reaches(at / SECTOR) {
                        bytes[at..next].copy_from_slice(&written[at - place..next - place]);
                    }
                    at = next;
                }
            }
        }
    }
}
