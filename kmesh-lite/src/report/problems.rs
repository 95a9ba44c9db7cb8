//! Problems of the configuration as text for people and as JSON for programs.

use super::count;
use crate::api::{Failure, FailureKind, Findings};
use crate::config::{Fragment, Location, Problem, Problems, Severity};
use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde_json::{Value, json};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

/// Places this many bytes apart are shown separately.
const FAR: u32 = 300;

/// More problems than this are counted instead of shown: nobody reads a hundred thousand.
const SHOWN: usize = 500;

/// Longer lines are cut around what is pointed at.
const LONGEST_LINE: usize = 20_000;

/// Why a configuration cannot be used. It is named as it was written: that is what a user can click
/// on or compare.
pub fn invalid(name: impl Display, problems: &Problems, color: bool) -> Failure {
    let error = format!("{name} has {}", summary(problems));
    Failure::new(FailureKind::InvalidConfiguration, error).with_problems(findings(problems, color))
}

/// Problems in the shape of the API.
pub fn findings(problems: &Problems, color: bool) -> Findings {
    Findings {
        errors: problems.count(Severity::Error),
        text: render(problems, color),
        list: to_json(problems),
    }
}

/// Every problem with its excerpt. Their number stands where the text is used. Empty without problems.
pub fn render(problems: &Problems, color: bool) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
    .term_width(DEFAULT_TERM_WIDTH);
    let mut text = String::new();
    // Errors last a screenful; notes must not use it up.
    for problem in shown(problems) {
        text.push_str(&render_one(&renderer, problem));
        text.push_str("\n\n");
    }
    if problems.len() > SHOWN {
        text.push_str(&format!("... and {} more\n", problems.len() - SHOWN));
    }
    text
}

/// All in order, or if they are too many the most severe ones.
fn shown(problems: &Problems) -> Vec<&Problem> {
    let mut shown: Vec<_> = problems.iter().collect();
    if shown.len() > SHOWN {
        shown.sort_by_key(|problem| problem.severity);
        shown.truncate(SHOWN);
    }
    shown
}

/// "2 errors, 1 warning".
pub fn summary(problems: &Problems) -> String {
    let severities = [Severity::Error, Severity::Warning, Severity::Note].into_iter();
    let counts = severities.filter_map(|severity| match problems.count(severity) {
        0 => None,
        n => Some(count(n, severity.as_str())),
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// The same as data. The shape is stable; keys may be added:
///
/// ```json
/// [{
///   "severity": "error",
///   "message": "unknown key `wieght`",
///   "file": "/etc/kmesh/mesh.toml",
///   "line": 3, "column": 5, "end_line": 3, "end_column": 11,
///   "expected": "`address` or `weight`",
///   "help": "did you mean `weight`?",
///   "related": [{ "message": "first defined here", "file": "...", "line": 1, "column": 1,
///                 "end_line": 1, "end_column": 2 }]
/// }]
/// ```
///
/// `severity` is `error`, `warning` or `note`. `file` is the origin. Lines and columns count from 1,
/// columns in characters; the end is exclusive. They are null where the problem is the file itself;
/// `expected` and `help` may be null, `related` may be empty.
fn to_json(problems: &Problems) -> Value {
    problems.iter().map(problem_json).collect()
}

fn render_one(renderer: &Renderer, problem: &Problem) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = level
        .primary_title(normalize_untrusted_str(&problem.message))
        .elements(None::<Snippet<'_, annotate_snippets::Annotation<'_>>>);
    // Places on the same few lines share an excerpt.
    let near = |place: &Location| {
        let together = place.span.zip(problem.place.span);
        Arc::ptr_eq(&place.fragment, &problem.place.fragment)
            && together.is_some_and(|(a, b)| a.start.abs_diff(b.start) <= FAR)
            && place
                .line()
                .zip(problem.place.line())
                .is_some_and(|(a, b)| a.abs_diff(b) <= 3)
            && !long(place)
            && !long(&problem.place)
    };
    let (beside, elsewhere): (Vec<_>, Vec<_>) =
        problem.related.iter().partition(|r| near(&r.place));
    let mut marks = vec![(
        &problem.place,
        problem.expected.as_ref().map(|e| format!("expected {e}")),
    )];
    marks.extend(beside.iter().map(|r| (&r.place, Some(r.message.clone()))));
    group = excerpt(group, &marks, AnnotationKind::Primary);
    for related in elsewhere {
        let marks = [(&related.place, Some(related.message.clone()))];
        group = excerpt(group, &marks, AnnotationKind::Context);
    }
    if problem.place.span.is_none()
        && let Some(expected) = &problem.expected
    {
        group = group.element(Level::NOTE.message(format!("expected {expected}")));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    renderer.render(&[group])
}

/// Adds the lines that hold all of the marks, the first of which gives position and file.
fn excerpt<'a>(
    group: Group<'a>,
    marks: &[(&'a Location, Option<String>)],
    first: AnnotationKind,
) -> Group<'a> {
    let place = marks[0].0;
    let path = place.origin().to_string();
    let Some(span) = place.span else {
        return group.element(Origin::path(path));
    };
    let fragment = &place.fragment;
    let spans = marks.iter().filter_map(|(place, _)| place.span);
    let (low, high) = spans.fold((span.start, span.end), |(low, high), span| {
        (low.min(span.start), high.max(span.end))
    });
    let (line, column) = fragment.position(span.start);
    let lines = window(fragment, low as usize..high as usize);
    let first_line = fragment.position(low).0;
    let text = &fragment.text()[lines.clone()];
    let mut snippet = Snippet::source(text).line_start(first_line + 1);
    let whole_lines = !long(place);
    if whole_lines {
        snippet = snippet.path(path.clone());
    }
    for (index, (place, label)) in marks.iter().enumerate() {
        let Some(span) = place.span else { continue };
        let kind = match index {
            0 => first,
            _ => AnnotationKind::Context,
        };
        let inside = |at: u32| (at as usize).clamp(lines.start, lines.end) - lines.start;
        let range =
            text.floor_char_boundary(inside(span.start))..text.ceil_char_boundary(inside(span.end));
        let label = label.as_deref().map(normalize_untrusted_str);
        snippet = snippet.annotation(kind.span(range).label(label));
    }
    if whole_lines {
        return group.element(snippet);
    }
    // The excerpt begins in the middle of a line, so its own columns would be wrong.
    let origin = Origin::path(path).line(line + 1).char_column(column + 1);
    group.element(origin).element(snippet)
}

/// What to show of the lines of `span`: all, unless a line is enormous.
fn window(fragment: &Fragment, span: Range<usize>) -> Range<usize> {
    let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
    let first = fragment.position(offset(span.start)).0;
    // A mark that runs over many lines is shown by its first ones.
    let last = fragment.position(offset(span.end)).0.min(first + 6);
    let lines = fragment.line_range(first, last);
    if lines.len() <= LONGEST_LINE {
        return lines;
    }
    let start = span.start.saturating_sub(60).max(lines.start);
    let end = (span.end.min(span.start + 200) + 60).min(lines.end);
    fragment.text().ceil_char_boundary(start)..fragment.text().floor_char_boundary(end)
}

fn long(place: &Location) -> bool {
    place.span.is_some_and(|span| {
        let line = place.fragment.position(span.start).0;
        place.fragment.line_range(line, line).len() > LONGEST_LINE
    })
}

fn problem_json(problem: &Problem) -> Value {
    let mut object = json!({
        "severity": problem.severity.as_str(),
        "message": problem.message,
    });
    place_json(&mut object, &problem.place);
    object["expected"] = json!(problem.expected);
    object["help"] = json!(problem.help);
    object["related"] = problem
        .related
        .iter()
        .map(|related| {
            let mut object = json!({ "message": related.message });
            place_json(&mut object, &related.place);
            object
        })
        .collect();
    object
}

fn place_json(object: &mut Value, place: &Location) {
    let end = place.span.map(|span| place.fragment.position(span.end));
    object["file"] = json!(place.origin().as_path().to_string_lossy());
    object["line"] = json!(place.line());
    object["column"] = json!(place.column());
    object["end_line"] = json!(end.map(|(line, _)| line + 1));
    object["end_column"] = json!(end.map(|(_, column)| column + 1));
}
