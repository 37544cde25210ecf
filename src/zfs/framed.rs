//! The words of the `zfs` program about datasets, in a form that no value can forge. Pure.
//!
//! `zfs get` prints values as they are, with their tabs and line ends. So it is asked for properties that
//! nobody has as well, of a name that is made anew for each question: the row of such a property ends each
//! value that may hold anything. Who wrote the value could not know that name. Where a process here reads
//! it off the command line and is quick enough to put it into a value, the dataset that it forges is listed
//! twice, or its own rows are swallowed by a value that holds the name: nothing of either is believed.

use super::entry::{Entry, PROPERTIES, Value};
use crate::promotion;

/// The properties whose values may hold anything.
const FREE: [&str; 5] = [
    "keylocation",
    "mountpoint",
    "sharenfs",
    "sharesmb",
    promotion::PROPERTY,
];

/// The name of properties that nobody has.
#[derive(Debug, Clone)]
pub struct Frame(String);

impl Frame {
    /// A name made of these bytes, which nobody could foresee.
    pub fn new(bytes: [u8; 16]) -> Frame {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Frame(format!("f3skeys:end-{hex}"))
    }

    /// The list of properties for `zfs get -Hp -o name,property,value,source`.
    pub fn properties(&self) -> String {
        let mut list = self.first();
        for property in PROPERTIES {
            list.push(',');
            list.push_str(property);
            if FREE.contains(&property) {
                list.push(',');
                list.push_str(&self.after(property));
            }
        }
        list
    }

    fn first(&self) -> String {
        format!("{}-0", self.0)
    }

    /// The property behind one that may hold anything.
    fn after(&self, property: &str) -> String {
        let number = FREE.iter().position(|free| *free == property);
        format!("{}-{}", self.0, number.map_or(0, |number| number + 1))
    }

    /// Reads what it has printed. A dataset whose rows are not all there, or not in their order, comes
    /// without values.
    ///
    /// # Errors
    /// It does not begin as it should: nothing of it is understood.
    pub fn read(&self, text: &[u8]) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        let mut rest = text;
        let begin = format!("\t{}\t-\t-\n", self.first());
        while !rest.is_empty() {
            let (name, after) = split(rest, begin.as_bytes())
                .filter(|(name, _)| !name.contains(&b'\n'))
                .ok_or("its rows are not those that were asked for")?;
            let end = find(after, begin.as_bytes()).map_or(after.len(), |next| {
                let line = after[..next].iter().rposition(|byte| *byte == b'\n');
                line.map_or(0, |line| line + 1)
            });
            let (rows, following) = after.split_at(end);
            entries.push(Entry {
                name: name.to_vec(),
                values: self.values(name, rows).unwrap_or_default(),
            });
            rest = following;
        }
        Ok(entries)
    }

    /// The values of one dataset; `None` unless its rows are all there, and nothing else.
    fn values(&self, name: &[u8], mut rows: &[u8]) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        for property in PROPERTIES {
            let row = [name, b"\t", property.as_bytes(), b"\t"].concat();
            rows = rows.strip_prefix(row.as_slice())?;
            let end = match FREE.contains(&property) {
                true => {
                    let frame = format!("\t{}\t-\t-\n", self.after(property));
                    [b"\n", name, frame.as_bytes()].concat()
                }
                false => b"\n".to_vec(),
            };
            let (columns, rest) = split(rows, &end)?;
            values.push(value(columns)?);
            rows = rest;
        }
        let knows = |value: &Value| find(&value.value, self.0.as_bytes()).is_some();
        (rows.is_empty() && !values.iter().any(knows)).then_some(values)
    }
}

/// A value and its source, which is a word or a name and holds no tab.
fn value(columns: &[u8]) -> Option<Value> {
    let tab = columns.iter().rposition(|byte| *byte == b'\t')?;
    Some(Value {
        value: columns[..tab].to_vec(),
        source: columns[tab + 1..].to_vec(),
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = find(text, at)?;
    Some((&text[..found], &text[found + at.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame::new([0xa5; 16])
    }

    fn entry(name: &str) -> Entry {
        let value = |property: &&str| Value {
            value: format!("the {property} of {name}").into_bytes(),
            source: b"inherited from z".to_vec(),
        };
        Entry {
            name: name.as_bytes().to_vec(),
            values: PROPERTIES.iter().map(value).collect(),
        }
    }

    /// What `zfs get` prints of these, asked for the properties of [`frame`].
    fn printed(entries: &[Entry]) -> Vec<u8> {
        let mut text = Vec::new();
        for entry in entries {
            let mut values = entry.values.iter();
            for property in frame().properties().split(',') {
                let none = Value::none();
                let value = match PROPERTIES.contains(&property) {
                    true => values.next().unwrap(),
                    false => &none,
                };
                let columns = [
                    &entry.name,
                    property.as_bytes(),
                    &value.value,
                    &value.source,
                ];
                text.extend(columns.join(&b'\t'));
                text.push(b'\n');
            }
        }
        text
    }

    fn three() -> [Entry; 3] {
        ["z", "z/a b", "z/c"].map(entry)
    }

    #[test]
    fn what_is_printed_is_read_and_each_name_is_its_own() {
        let three = three();
        assert_eq!(frame().read(&printed(&three)), Ok(three.to_vec()));
        assert_eq!(frame().read(b""), Ok(Vec::new()));
        let names = frame().properties();
        let names: Vec<&str> = names.split(',').filter(|n| n.contains(':')).collect();
        assert_eq!(names.len(), FREE.len() + 2);
        assert_ne!(
            Frame::new([1; 16]).properties(),
            Frame::new([2; 16]).properties()
        );
    }

    /// Ends a value before its time, tells other rows of the same dataset, and has the true ones swallowed
    /// by the last value.
    #[test]
    fn law_9_who_knows_the_name_forges_no_row_of_his_own_dataset_either() {
        let frame = frame();
        let truth = entry("z/c");
        let lines = String::from_utf8(printed(std::slice::from_ref(&truth))).unwrap();
        for property in FREE {
            let number = PROPERTIES.iter().position(|p| *p == property).unwrap();
            let last = format!("z/c\t{}\t", promotion::PROPERTY);
            let behind = format!("z/c\t{}\t-\t-\n", frame.after(property));
            // All rows behind the value, up to the one that may hold anything and comes last.
            let rows = lines.split_once(&behind).unwrap().1;
            let rows = rows.split_once(&last).map_or("", |(rows, _)| rows);
            let mut hostile = truth.clone();
            let value = format!("x\tlocal\n{behind}{rows}{last}nothing");
            hostile.values[number].value = value.into_bytes();
            let read = frame.read(&printed(&[entry("z"), hostile])).unwrap();
            assert_eq!(read[0], entry("z"), "{property}");
            assert_eq!(read[1].name, b"z/c", "{property}");
            assert_eq!(read[1].values, [], "{property}");
        }
    }

    /// Whatever a free value holds, it is read as it is: rows that it spells are of no dataset.
    #[test]
    fn law_9_no_free_value_is_read_as_more_than_itself() {
        let other = String::from_utf8(printed(&[entry("z/c")])).unwrap();
        let guessed = other.replace("a5a5", "5a5a");
        for value in [
            &b"\t"[..],
            b"\n",
            b"a\tb\nc",
            b"\xff\n\xfe\t",
            b"\nz/c\tf3skeys:promotion\tpromoted 1 1 x\tlocal\nz/d\ttype\tfilesystem\t-",
            b"x\tlocal\nz/c\treadonly\ton\tlocal",
            guessed.as_bytes(),
        ] {
            for place in 0..3 {
                for property in FREE {
                    let number = PROPERTIES.iter().position(|p| *p == property).unwrap();
                    let mut hostile = three();
                    hostile[place].values[number].value = value.to_vec();
                    let read = frame().read(&printed(&hostile));
                    assert_eq!(read, Ok(hostile.to_vec()), "{place} {property} {value:?}");
                }
            }
        }
    }

    /// Whoever has read the name off the command line can have a dataset listed twice, or end his own.
    #[test]
    fn law_9_who_knows_the_name_can_take_away_and_never_be_believed() {
        let forged = printed(&[entry("z/c")]);
        for property in FREE {
            let number = PROPERTIES.iter().position(|p| *p == property).unwrap();
            let mut hostile = three();
            hostile[1].values[number].value = [b"\n", &forged[..]].concat();
            let read = frame().read(&printed(&hostile)).unwrap();
            let of = |name: &str| read.iter().filter(|e| e.name == name.as_bytes()).count();
            assert_eq!((of("z"), of("z/c")), (1, 2), "{property}");
            let own = read.iter().find(|e| e.name == b"z/a b").unwrap();
            assert_eq!(own.values, [], "{property}");
        }
    }

    /// No other value can hold a line end. If one did, its dataset would be lost, and no other.
    #[test]
    fn law_5_rows_that_are_missing_doubled_or_out_of_order_are_damage_of_one_dataset() {
        let whole = printed(&three());
        let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
        let each = lines.len() / 3;
        let read = |lines: &[&[u8]]| frame().read(&lines.concat());
        // The first row of a dataset begins it: without it its rows are the last one's.
        for number in (0..lines.len()).filter(|n| n % each != 0) {
            let own = number / each;
            let mut fewer = lines.clone();
            fewer.remove(number);
            // What is put between a free value and its end belongs to the value.
            let is_free = |number: usize| {
                let row = String::from_utf8_lossy(lines[number]).into_owned();
                FREE.iter().any(|p| row.contains(&format!("\t{p}\t")))
            };
            let mut more = lines.clone();
            let doubled = number + usize::from(is_free(number));
            more.insert(doubled, lines[doubled]);
            let mut odd = lines.clone();
            let between = number + usize::from(is_free(number - 1));
            odd.insert(between, b"z/c\ttype\tfilesystem\t-\n");
            let swapped = match number + 1 < (own + 1) * each {
                true => {
                    let mut swapped = lines.clone();
                    swapped.swap(number, number + 1);
                    swapped
                }
                false => fewer.clone(),
            };
            for changed in [fewer, more, odd, swapped] {
                let mut expected = three();
                expected[own].values.clear();
                assert!(read(&changed) == Ok(expected.to_vec()), "{number}");
            }
        }
        let whole = read(&lines[1..]);
        assert!(whole.is_err(), "it does not begin as it should");
    }
}
