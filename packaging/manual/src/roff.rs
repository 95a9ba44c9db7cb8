//! The few shapes that the pages are made of.

use roff::{Inline, Roff, bold, italic, roman};

/// A whole page, with the heading that man(1) wants.
pub struct Page {
    name: &'static str,
    section: u8,
    roff: Roff,
}

impl Page {
    pub fn new(name: &'static str, section: u8, date: &str, body: Text) -> Self {
        let mut roff = Roff::new();
        let source = format!("kmesh-lite {}", env!("CARGO_PKG_VERSION"));
        let section_text = section.to_string();
        // File names have no capitals here, so the title has none.
        roff.control("TH", [name, &section_text, date, &source, "kmesh-lite"]);
        roff.extend([body.roff]);
        Self {
            name,
            section,
            roff,
        }
    }

    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    pub fn text(&self) -> String {
        self.roff.render()
    }
}

/// A part of a page, as it grows.
#[derive(Default)]
pub struct Text {
    roff: Roff,
    /// A heading begins a paragraph by itself, and man(1) wants no second beginning.
    below_heading: bool,
}

impl Text {
    pub fn section(&mut self, title: &str) -> &mut Self {
        self.roff.control("SH", [title]);
        self.below_heading = true;
        self
    }

    pub fn subsection(&mut self, title: &str) -> &mut Self {
        self.roff.control("SS", [title]);
        self.below_heading = true;
        self
    }

    /// A paragraph. A word in backticks is set in bold.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.begin();
        self.words(text)
    }

    fn begin(&mut self) {
        if !self.below_heading {
            self.roff.control("PP", []);
        }
        self.below_heading = false;
    }

    /// An entry of a list of terms: `term` in bold, then `kind` in italics. Its description follows as
    /// [`Text::words`].
    pub fn term(&mut self, term: &str, kind: &str) -> &mut Self {
        self.below_heading = false;
        self.roff.control("TP", []);
        let mut heading = vec![bold(term)];
        if !kind.is_empty() {
            heading.extend([roman(" "), italic(kind)]);
        }
        self.roff.text(heading);
        self
    }

    /// Text within the paragraph or the entry that is there.
    pub fn words(&mut self, text: &str) -> &mut Self {
        self.below_heading = false;
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.roff.text(inlines(&joined));
        self
    }

    /// A list within an entry.
    pub fn nested(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.roff.control("RS", []);
        write(self);
        self.roff.control("RE", []);
        self
    }

    /// Lines that are not filled.
    pub fn lines(&mut self, text: &str) -> &mut Self {
        self.begin();
        self.roff.control("RS", ["4"]);
        self.roff.control("nf", []);
        for line in text.trim_end().lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("fi", []);
        self.roff.control("RE", []);
        self
    }
}

/// Splits at backticks. Every second part is a word of the program or the file.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(number, part)| match number % 2 {
            0 => roman(part),
            _ => bold(part),
        })
        .collect()
}
