//! Dumps as pg_dump writes them, and files that are none.

use super::*;

/// A reader that hands over a few bytes at a time.
struct Drops<'t>(&'t [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = to.len().min(3).min(self.0.len());
        to[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn pieces(text: &[u8]) -> Result<Vec<String>, DumpError> {
    let read = |mut pieces: Pieces<Box<dyn Read>>| -> Result<Vec<String>, DumpError> {
        let mut found: Vec<String> = Vec::new();
        let mut rows = None;
        while let Some(piece) = pieces.next()? {
            match piece {
                Piece::Statement(line, statement) => found.push(format!("{line} {}", statement.text)),
                Piece::Copy(line, statement) => {
                    rows = Some(Vec::new());
                    found.push(format!("{line} {}", statement.text));
                }
                Piece::Rows(bytes) => rows.as_mut().unwrap().extend(bytes),
                Piece::RowsEnd => found.push(String::from_utf8(rows.take().unwrap()).unwrap()),
            }
        }
        Ok(found)
    };
    let whole = read(Pieces::new("d.sql".to_owned(), Box::new(io::Cursor::new(text.to_owned()))));
    let text: &'static [u8] = Box::leak(text.to_owned().into_boxed_slice());
    let dropwise = read(Pieces::new("d.sql".to_owned(), Box::new(Drops(text))));
    assert_eq!(whole, dropwise, "however it arrives");
    whole
}

#[test]
fn a_dump_is_read_statement_by_statement_and_its_rows_as_they_are() {
    let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET client_encoding = 'UTF8';\n\
                CREATE TABLE t (\n    a text\n);\n\nCOPY public.t (a) FROM stdin;\n;'é\n\\N\n\\\\.\n\\.\n\n\
                COPY public.t (a) FROM stdin;\n\\.\n\nSELECT $$ \\. ; $$;\n\\unrestrict abc\n";
    assert_eq!(
        pieces(dump.as_bytes()).unwrap(),
        [
            "7 SET client_encoding = 'UTF8'",
            "8 CREATE TABLE t (\n    a text\n)",
            "12 COPY public.t (a) FROM stdin",
            ";'é\n\\N\n\\\\.\n",
            "18 COPY public.t (a) FROM stdin",
            "",
            "21 SELECT $$ \\. ; $$",
        ]
    );
    assert_eq!(pieces(b"SELECT 1;\nSELECT 2 -- x\n").unwrap(), ["1 SELECT 1", "2 SELECT 2 -- x"]);
    assert_eq!(pieces(b"COPY t FROM stdin;\r\n1\r\n\\.\r\n").unwrap(), ["1 COPY t FROM stdin", "1\r\n"]);
    // Longer than what is read at once.
    let long = format!("INSERT INTO t VALUES ('{}');\nSELECT 1;\n", "x;\n".repeat(20_000));
    assert_eq!(pieces(long.as_bytes()).unwrap()[1], "20002 SELECT 1");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, line, said) in [
        (&b"SELECT 1;\n\\connect other\n"[..], 2, "\\connect is a command of psql's"),
        (b"SELECT 1\n\\restrict x\n;", 2, "\\restrict is a command of psql's"),
        (b"SELECT 1;\n\nSELECT 'abc;\n", 1, "a statement that begins here has no end"),
        (b"SELECT 1;\nCOPY t FROM stdin;\n1\n2\n", 3, "the rows that begin here have no end"),
        (b"\nSET client_encoding = 'LATIN1';\n", 2, "in another encoding"),
        (b"SELECT 1;\nSELECT '\xff';\n", 1, "not UTF-8"),
    ] {
        let error = pieces(text).unwrap_err();
        assert!(error.line == Some(line) && error.message.contains(said), "{error}");
        assert!(error.to_string().starts_with(&format!("d.sql:{line}: ")), "{error}");
    }
}

#[test]
fn only_what_makes_tables_is_a_whole_database() {
    let directory = tempfile::tempdir().unwrap();
    let look = |text: &str| {
        let path = directory.path().join("d.sql");
        std::fs::write(&path, text).unwrap();
        Dump::look(&path)
    };
    assert!(look("CREATE TABLE t (a int);").unwrap().has_schema);
    assert!(look("CREATE UNLOGGED TABLE t (a int)").unwrap().has_schema);
    assert!(!look("INSERT INTO t VALUES ('CREATE TABLE');\nCREATE FUNCTION x").unwrap().has_schema);
    assert!(look("-- nothing\n").unwrap_err().message.contains("no statement"));
    assert!(Dump::look(directory.path()).unwrap_err().message.contains("not a file"));
    assert!(Dump::look(&directory.path().join("none")).unwrap_err().message.contains("failed to read it"));
}
