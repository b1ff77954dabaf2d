//! The result of an expert: some figures and one list, printed as text or JSON.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A value in a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Count(u64),
    Text(String),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// The result of one expert. It is all in host memory.
#[derive(Clone, Debug)]
pub struct Findings {
    figures: Vec<(&'static str, Value)>,
    list: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Findings {
    /// An empty result whose list is called `list` and has these columns.
    pub fn new(list: &'static str, columns: &'static [&'static str]) -> Self {
        Self { figures: Vec::new(), list, columns, rows: Vec::new() }
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &'static str, value: impl Into<Value>) {
        self.figures.push((name, value.into()));
    }

    /// Adds a row to the list: one value per column.
    pub fn row(&mut self, values: Vec<Value>) {
        debug_assert_eq!(values.len(), self.columns.len());
        self.rows.push(values);
    }
}

/// Prints the figures, several per line, then the list as a table.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figures in self.figures.chunks(4) {
            let figures: Vec<String> = figures
                .iter()
                .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
                .collect();
            writeln!(f, "  {}", figures.join(", "))?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(self.columns.iter().map(|column| column.replace('_', " ")));
        for row in &self.rows {
            table.add_row(row);
        }
        for (index, value) in self.rows[0].iter().enumerate() {
            if let (Value::Count(_), Some(column)) = (value, table.column_mut(index)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().try_for_each(|line| writeln!(f, "  {}", line.trim_end()))
    }
}

/// One object: the figures by name, and the list as objects by column.
impl Serialize for Findings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.figures.len() + 1))?;
        for (name, value) in &self.figures {
            object.serialize_entry(name, value)?;
        }
        object.serialize_entry(self.list, &Rows(self))?;
        object.end()
    }
}

struct Rows<'a>(&'a Findings);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Findings { columns, rows, .. } = self.0;
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for row in rows {
            list.serialize_element(&Row { columns, row })?;
        }
        list.end()
    }
}

struct Row<'a> {
    columns: &'static [&'static str],
    row: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().zip(self.row))
    }
}
