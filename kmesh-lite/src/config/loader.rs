//! From fragments to a mesh, and again when some of them changed.

use super::fragment::Origin;
use super::fragments::Fragments;
use super::lower::{Kept, lower};
use super::parallel;
use super::parse::Parsed;
use super::piece::{Piece, Pieces};
use super::problem::{Problems, Severity};
use crate::model::Mesh;
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::Peekable;
use std::net::IpAddr;
use std::vec::IntoIter;

/// What lowering needs to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The hostname: what this node is called unless the file says otherwise.
    pub name: String,
    /// Addresses of its interfaces.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Its routes to networks.
    pub routes: Vec<Route>,
    /// Names of the unit files that its systemd knows; none if that is unknown.
    pub unit_files: Option<BTreeSet<String>>,
    /// Numbers of users and groups by name; none where nothing is known of them.
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
}

/// Where packets go that are for an address of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub network: IpNetwork,
    /// The interface.
    pub device: String,
}

/// Loads what one source has. Keeps what it made of each piece of text, so that a change costs what it
/// changes: what is given is always what a new loader would give.
#[derive(Debug, Default)]
pub struct Loader {
    files: Vec<Pieces>,
    kept: Kept,
    /// Whether fragments are parsed as a whole.
    #[cfg(test)]
    unsplit: bool,
}

/// What loading came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// None if there is any error, or nothing to load.
    pub mesh: Option<Mesh>,
    pub problems: Problems,
    /// What was read, or was there and could not be.
    pub origins: Vec<Origin>,
    /// Whether there is any configuration, good or bad.
    pub present: bool,
    /// How many bytes of text had changed.
    pub changed_bytes: usize,
}

impl Loader {
    /// What all fragments say together.
    pub fn load(&mut self, fragments: &Fragments, host: &Host) -> Loaded {
        let changed_bytes = self.read(fragments);
        let mut problems = fragments.problems.clone();
        // A fragment that could not be read may define what others refer to, and an unknown key at the top may
        // be a table that others refer to, misspelled.
        let sound = |it: &Parsed| it.text.as_ref().is_some_and(|text| text.sound);
        let whole = problems.iter().all(|p| p.severity != Severity::Error)
            && said(&self.files).all(|it| it.whole && sound(it));
        let (mesh, lowered, last) = lower(&self.files, host, whole, &mut self.kept);
        problems.extend(said(&self.files).flat_map(|it| it.problems.iter().cloned()));
        problems.extend(lowered);
        let pieces = self.files.iter_mut().flat_map(|file| &mut file.list);
        pieces.for_each(Piece::forget_text);
        let origins = fragments.origins().to_vec();
        let problems = Problems::in_order(problems, &origins);
        let valid = !problems.has_errors();
        if valid && fragments.incomplete {
            return Loaded::default();
        }
        let is_mesh = valid && !origins.is_empty();
        if is_mesh {
            self.kept.last = last;
        }
        Loaded {
            mesh: is_mesh.then_some(mesh),
            present: !valid || !origins.is_empty(),
            origins,
            problems,
            changed_bytes,
        }
    }

    /// Reads what changed, and says how large that is.
    fn read(&mut self, fragments: &Fragments) -> usize {
        let mut before = Before::new(std::mem::take(&mut self.files));
        let mut files = Vec::with_capacity(fragments.origins().len());
        let mut unread = Vec::new();
        let mut changed = 0;
        for fragment in fragments.iter() {
            let mut known = before.take(fragment.origin());
            let is_same = |it: &mut Pieces| it.fragment.revision() == fragment.revision();
            let same = known.take_if(is_same);
            if same.is_none() {
                unread.push((fragment, known));
                changed += fragment.text().len();
            }
            files.push(same);
        }
        #[cfg(test)]
        let unsplit = self.unsplit;
        let read = parallel::map(unread, |(fragment, known)| {
            #[cfg(test)]
            if unsplit {
                return Pieces::whole(fragment);
            }
            Pieces::read(fragment, known)
        });
        let mut read = read.into_iter();
        self.files = files
            .into_iter()
            .filter_map(|same| same.or_else(|| read.next()))
            .collect();
        changed
    }
}

/// What was read, but for services whose meaning is known: their text had no problem.
fn said(files: &[Pieces]) -> impl Iterator<Item = &Parsed> {
    let pieces = files.iter().flat_map(|file| &file.list);
    pieces.filter_map(|piece| piece.kept().map(|it| &**it))
}

/// Fragments that are known. The next ones are mostly the same, in the same order.
struct Before {
    in_order: Peekable<IntoIter<Pieces>>,
    others: HashMap<Origin, Pieces>,
}

impl Before {
    fn new(files: Vec<Pieces>) -> Self {
        Self {
            in_order: files.into_iter().peekable(),
            others: HashMap::new(),
        }
    }

    fn take(&mut self, origin: &Origin) -> Option<Pieces> {
        let next = self.in_order.next_if(|it| it.fragment.origin() == origin);
        if next.is_some() {
            return next;
        }
        let rest = self.in_order.by_ref();
        self.others
            .extend(rest.map(|it| (it.fragment.origin().clone(), it)));
        self.others.remove(origin)
    }
}

#[cfg(test)]
mod tests;
