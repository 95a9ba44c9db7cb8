//! Files in another language than TOML: one error that says so is worth more than one for each line.

use std::ops::Range;

/// Languages that a configuration may be converted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Json,
    Yaml,
    Haproxy,
}

impl Language {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Haproxy => "a configuration of HAProxy",
        }
    }

    /// How what it says is said here.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => {
                "a service is written `[services.web]`, with a line for each of its keys, like `ports = [80]`; mesh.toml(5) has examples"
            }
            Self::Haproxy => {
                "a `listen` section, or a `frontend` and its `backend`, is one `[services.NAME]`: `bind` becomes `vips` and `ports`, and each `server` an item of `endpoints`; mesh.toml(5) has examples"
            }
        }
    }
}

/// So many lines are looked at.
const LINES: usize = 100;

/// What a text seems to be that is no TOML, and the line that shows it.
pub fn guess(text: &str) -> Option<(Language, Range<usize>)> {
    let mut lines = text.lines().filter_map(|line| {
        let bare = line.trim();
        let counts = !bare.is_empty() && !bare.starts_with(['#', ';']) && !bare.starts_with("//");
        counts.then_some(bare)
    });
    let first = lines.next()?;
    let language = if first.starts_with('{') || first == "[" || first.starts_with("[{") {
        Language::Json
    } else if is_section(first) {
        Language::Haproxy
    } else if first == "---" || first.starts_with("%YAML") || is_yaml(first) {
        let rest: Vec<_> = lines.take(LINES).collect();
        let like = |is: fn(&str) -> bool| rest.iter().filter(|line| is(line)).count();
        if like(is_toml) > like(is_yaml) {
            return None;
        }
        Language::Yaml
    } else {
        return None;
    };
    // The line is a part of the text, so the difference of their addresses is its place.
    let start = first.as_ptr() as usize - text.as_ptr() as usize;
    Some((language, start..start + first.len()))
}

/// `defaults`, `backend web`
fn is_section(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default();
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    match word {
        "global" | "defaults" => words.next().is_none_or(is_name),
        "frontend" | "backend" | "listen" | "resolvers" | "userlist" => {
            words.next().is_some_and(is_name)
        }
        _ => false,
    }
}

/// `key:`, `key: value`, `- item`
fn is_yaml(line: &str) -> bool {
    if line == "-" || line.starts_with("- ") {
        return true;
    }
    let Some((key, rest)) = line.split_once(':') else {
        return false;
    };
    let key = key.trim_matches(['"', '\'']);
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (rest.is_empty() || rest.starts_with(' ')) && !key.is_empty() && key.chars().all(is_key)
}

/// `key = value`, `[table]`
fn is_toml(line: &str) -> bool {
    line.contains('=') || line.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_languages_are_told_by_how_they_begin() {
        for (text, language) in [
            ("{\n  \"services\": {}\n}", Language::Json),
            ("[{\"name\": \"web\"}]", Language::Json),
            (
                "# mine\nservices:\n  web:\n    vips: [auto]\n",
                Language::Yaml,
            ),
            ("---\nservices: {}\n", Language::Yaml),
            ("- name: web\n  ports: [80]\n", Language::Yaml),
            ("global\n    maxconn 100\n", Language::Haproxy),
            (
                "backend web\n    server s1 10.0.0.1:80 check\n",
                Language::Haproxy,
            ),
        ] {
            assert_eq!(guess(text).map(|it| it.0), Some(language), "{text}");
        }
        for text in [
            "",
            "[services.web",
            "vips = [\"auto\"",
            "node: web-1\n[services.web]\nvips = [\"auto\"]\nports = [80]\n",
            "services.web.ports = [80\n",
            "global = 1 =",
            "x\ny\n",
        ] {
            assert_eq!(guess(text), None, "{text}");
        }
        let (_, line) = guess("# a\n  backend web\n").unwrap();
        assert_eq!(line, 6..17);
    }
}
