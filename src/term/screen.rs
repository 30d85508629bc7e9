//! One output stream: lines that stay, and below them a block that is drawn again in its place.

use std::io::Write;

/// A stream that text is printed to.
pub(super) struct Screen {
    writer: Box<dyn Write>,
    colour: bool,
    /// Columns, where the stream is a terminal on which lines can be replaced.
    width: Option<usize>,
    drawn: usize,
}

impl Screen {
    pub(super) fn new(writer: Box<dyn Write>, colour: bool, width: Option<usize>) -> Self {
        Self { writer, colour, width, drawn: 0 }
    }

    /// Whether lines can be replaced.
    pub(super) const fn is_live(&self) -> bool {
        self.width.is_some()
    }

    /// Whether colour is shown.
    pub(super) const fn has_colour(&self) -> bool {
        self.colour
    }

    /// Prints a line that stays, above the block.
    pub(super) fn line(&mut self, text: &str) {
        let erase = self.erase();
        let text = self.plain(text);
        // A reader that went away is not our failure, and nothing could be told to it anyway.
        let _ = writeln!(self.writer, "{erase}{text}");
    }

    /// Draws the block anew; an empty one takes it away.
    pub(super) fn replace_block(&mut self, lines: &[String]) {
        let Some(width) = self.width else { return };
        let mut text = self.erase();
        for line in lines {
            text.push_str(&self.plain(&cut(line, width)));
            text.push('\n');
        }
        self.drawn = lines.len();
        let _ = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
    }

    /// The control sequence that takes the block away: up to its first line, then clear to the end of the screen.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\r\u{1b}[J"),
        }
    }

    fn plain(&self, text: &str) -> String {
        if self.colour { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
    }
}

/// Columns of the terminal behind a stream.
pub(super) fn width(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Cuts a painted line to a number of columns, so that it never wraps and the block keeps its height. Loses the paint of a line that
/// is too long.
fn cut(line: &str, width: usize) -> String {
    let bare = anstream::adapter::strip_str(line).to_string();
    if bare.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = bare.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_line_that_fits_keeps_its_paint_and_a_long_one_ends_in_an_ellipsis() {
        assert_eq!(cut("\u{1b}[1mab\u{1b}[0m", 2), "\u{1b}[1mab\u{1b}[0m");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
