//! Any bytes, cut anywhere: nothing panics, nothing is kept beyond its bound, and what goes on is what came.

use proptest::prelude::*;

use super::{Asked, Conversation};
use crate::bounds::{ANSWER_BYTES_MAX, READ_BYTES_MAX, UNIT_BYTES_MAX};
use crate::course::Phase;
use crate::gate::{Admission, Watch};
use crate::owed::Owed;
use crate::rewrite::{Rewrite, following};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

fn as_it_is(_: &str) -> Option<String> {
    None
}

const AS_IT_IS: Rewrite<'static> = Rewrite { anew: &as_it_is, followed: &as_it_is };

/// A session whose server answers everything as it should, and what has been moved.
struct Played {
    talk: Conversation,
    /// What reached the server, and the client.
    sent: Vec<u8>,
    delivered: Vec<u8>,
    said: Vec<u8>,
    /// Chooses what the server does where it may do several things.
    choices: Vec<u8>,
    asked: usize,
    answered: usize,
    rewrite: fn(&str) -> Option<String>,
    followed: fn(&str) -> Option<String>,
    /// What is run may be a COPY.
    copies: bool,
}

impl Played {
    fn new(watch: Watch, choices: Vec<u8>) -> Played {
        let talk = Conversation::new(watch, false);
        let (sent, delivered, said) = (Vec::new(), Vec::new(), Vec::new());
        Played {
            talk,
            sent,
            delivered,
            said,
            choices,
            asked: 0,
            answered: 0,
            rewrite: as_it_is,
            followed: as_it_is,
            copies: true,
        }
    }

    fn choose(&mut self) -> u8 {
        let choice = self.choices.pop().unwrap_or(0);
        self.choices.insert(0, choice.wrapping_add(7));
        choice
    }

    /// Hears a piece, and moves all that can be moved.
    fn hear(&mut self, piece: &[u8]) {
        self.talk.from_client.extend_from_slice(piece);
        loop {
            self.talk.scan_client(&Rewrite { anew: &self.rewrite, followed: &self.followed }).expect("messages");
            let told = self.talk.take_answered().is_some();
            self.answered += usize::from(told);
            let asked = self.talk.take_asked().is_some();
            if asked {
                self.asked += 1;
                self.talk.decide(Admission::Forward);
                self.answered += usize::from(self.talk.take_answered().is_some());
            }
            let sendable = self.talk.sendable;
            self.sent.extend_from_slice(&self.talk.from_client[..sendable]);
            self.talk.sent(sendable);
            let Some(owed) = self.talk.course.owed_next() else {
                if sendable == 0 && !told && !asked {
                    return;
                }
                continue;
            };
            if self.talk.course.awaits_copy_data() {
                if sendable == 0 && !told && !asked {
                    return;
                }
                continue;
            }
            self.say(owed);
        }
    }

    /// The server answers what it owes next.
    fn say(&mut self, owed: Owed) {
        let choice = self.choose();
        let answer = match owed {
            Owed::Parse if choice.is_multiple_of(8) => message(b'E', b"SERROR\0C42601\0Msyntax\0\0"),
            Owed::Parse => message(b'1', b""),
            Owed::Bind => message(b'2', b""),
            Owed::Close => message(b'3', b""),
            Owed::DescribeStatement => message(b't', b"\0\x01\0\0\0\x17"),
            Owed::Describe if choice.is_multiple_of(2) => message(b'n', b""),
            Owed::Describe => message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
            Owed::Execute if self.copies && choice.is_multiple_of(8) => message(b'G', b"\0\0\0"),
            Owed::Execute if choice % 8 == 1 => message(b's', b""),
            Owed::Query if self.copies && choice.is_multiple_of(8) => message(b'G', b"\0\0\0"),
            Owed::Execute => [message(b'D', b"\0\x01\0\0\0\x011"), message(b'C', b"SELECT 1\0")].concat(),
            Owed::Query if choice % 8 == 1 => {
                [message(b'E', b"SERROR\0C42601\0Msyntax\0\0"), message(b'Z', b"E")].concat()
            }
            Owed::Query => {
                [message(b'A', b"\0\0\0\x01n\0p\0"), message(b'C', b"SELECT 1\0"), message(b'Z', b"T")].concat()
            }
            Owed::Call => [message(b'V', b"\xff\xff\xff\xff"), message(b'Z', b"I")].concat(),
            Owed::Sync => message(b'Z', b"I"),
        };
        // Of what it has not asked the client hears errors alone.
        if !self.talk.course.owes_for_itself() || answer[0] == b'E' {
            self.said.extend(&answer);
        }
        for byte in answer.chunks(1 + usize::from(choice)) {
            self.talk.from_server.extend_from_slice(byte);
            self.talk.scan_server().expect("messages");
            let deliverable = self.talk.deliverable;
            self.delivered.extend_from_slice(&self.talk.from_server[..deliverable]);
            self.talk.delivered(deliverable);
        }
        self.answered += usize::from(self.talk.take_answered().is_some());
    }
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("".to_owned()), "[a-c]"];
    let with_name = (name, prop::collection::vec(any::<u8>(), 0..40));
    (prop::sample::select(b"QPBDECSHFdcfzSSQQEdc".to_vec()), with_name, any::<bool>()).prop_map(
        |(tag, (name, rest), portal)| {
            let name = [name.as_bytes(), b"\0"].concat();
            let kind = if portal { b"P" } else { b"S" };
            match tag {
                b'D' | b'C' => message(tag, &[kind, &*name].concat()),
                b'S' | b'H' | b'c' => message(tag, b""),
                b'E' => message(tag, &[&*name, &[0, 0, 0, 5]].concat()),
                b'P' | b'B' => message(tag, &[&*name, &*name, &rest].concat()),
                _ => message(tag, &rest),
            }
        },
    )
}

/// Cuts bytes into pieces of these lengths, again and again.
fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at((*lengths.next()?).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Takes a stream apart into its messages; what is left of the last one is one too.
fn messages_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let total = super::header(bytes).and_then(|(_, total)| total).map_or(bytes.len(), |total| total as usize);
        let (one, rest) = bytes.split_at(total.min(bytes.len()));
        messages.push(one);
        bytes = rest;
    }
    messages
}

/// Another text for every other one, shorter or longer.
fn anew(text: &str) -> Option<String> {
    text.len().is_multiple_of(2).then(|| format!("/* {} */", "x".repeat(40 - text.len().min(40))))
}

fn watches() -> impl Strategy<Value = Watch> {
    prop::sample::select(vec![Watch::Nothing, Watch::Units, Watch::Rows { bytes_max: 100 }])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_reaches_the_server_and_the_client_is_what_was_sent(
        messages in prop::collection::vec(any_message(), 0..60),
        lengths in prop::collection::vec(1_usize..50, 1..6),
        choices in prop::collection::vec(any::<u8>(), 1..20),
        watch in watches(),
    ) {
        let bytes = messages.concat();
        let mut played = Played::new(watch, choices);
        for piece in pieces(&bytes, &lengths) {
            played.hear(piece);
        }
        played.sent.extend_from_slice(&played.talk.from_client);
        prop_assert_eq!(&played.sent, &bytes);
        prop_assert_eq!(&played.delivered, &played.said);
        let under_way = matches!(played.talk.course.phase, Phase::UnderWay { .. });
        prop_assert_eq!(played.asked, played.answered + usize::from(under_way));
    }

    #[test]
    fn the_units_are_the_same_however_the_bytes_are_cut(
        messages in prop::collection::vec(any_message(), 0..40),
        lengths in prop::collection::vec(1_usize..20, 1..6),
    ) {
        let bytes = messages.concat();
        let mut whole = Played::new(Watch::Units, vec![3]);
        whole.hear(&bytes);
        let mut cut = Played::new(Watch::Units, vec![3]);
        pieces(&bytes, &lengths).for_each(|piece| cut.hear(piece));
        prop_assert_eq!(whole.asked, cut.asked);
        prop_assert_eq!(whole.sent, cut.sent);
    }

    #[test]
    fn texts_are_exchanged_and_all_other_bytes_are_as_they_were(
        messages in prop::collection::vec(any_message(), 0..60),
        lengths in prop::collection::vec(1_usize..50, 1..6),
        choices in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let bytes = messages.concat();
        let mut played = Played::new(Watch::Units, choices);
        played.rewrite = anew;
        pieces(&bytes, &lengths).for_each(|piece| played.hear(piece));
        let waiting = played.talk.from_client.len() - played.talk.scanned;
        let untouched = played.talk.from_client[played.talk.scanned..].to_vec();
        let looked_at = played.talk.from_client[..played.talk.scanned].to_vec();
        played.sent.extend(looked_at);
        let (before, after) = (&bytes[..bytes.len() - waiting], &played.sent);
        prop_assert_eq!(&bytes[bytes.len() - waiting..], &*untouched);
        let (before, after) = (messages_of(before), messages_of(after));
        prop_assert_eq!(before.len(), after.len());
        for (was, is) in before.into_iter().zip(after) {
            let other = crate::rewrite::message(was, &Rewrite { anew: &anew, followed: &as_it_is });
            prop_assert!(was == is || other.is_some_and(|other| other.bytes == is), "{:?} became {:?}", was, is);
        }
        prop_assert_eq!(&played.delivered, &played.said);
    }

    #[test]
    fn a_client_sees_nothing_of_what_follows_however_the_bytes_are_cut(
        messages in prop::collection::vec(any_message(), 0..60),
        lengths in prop::collection::vec(1_usize..50, 1..6),
        choices in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let bytes = messages.concat();
        let mut played = Played::new(Watch::Units, choices);
        played.followed = |_| Some("SELECT 1".to_owned());
        played.copies = false;
        pieces(&bytes, &lengths).for_each(|piece| played.hear(piece));
        prop_assert_eq!(&played.delivered, &played.said);
        let under_way = matches!(played.talk.course.phase, Phase::UnderWay { .. });
        prop_assert_eq!(played.asked, played.answered + usize::from(under_way));
        // Without what we say, the server reads what the client has said.
        let ours = following("SELECT 1").expect("a text");
        let sent: Vec<u8> = messages_of(&played.sent).into_iter().filter(|one| one[0] != b'Q').flatten().copied().collect();
        let mut rest = &*sent;
        let mut theirs = Vec::new();
        while let Some((first, after)) = rest.split_first() {
            match rest.strip_prefix(&*ours) {
                Some(after) => rest = after,
                None => { theirs.push(*first); rest = after; }
            }
        }
        let said: Vec<u8> = messages_of(&bytes).into_iter().filter(|one| one[0] != b'Q').flatten().copied().collect();
        prop_assert!(said.starts_with(&theirs), "{:?} is not the beginning of {:?}", theirs, said);
    }

    #[test]
    fn no_bytes_from_either_side_panic_or_are_kept_beyond_the_bound(
        turns in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), any::<u8>()), 0..60),
        tags in prop::collection::vec(prop::sample::select(b"QPBDECSHFXdcfz12TtnDCEZGWIsA".to_vec()), 0..60),
        watch in watches(),
    ) {
        let mut talk = Conversation::new(watch, false);
        let mut tags = tags.into_iter().cycle();
        for (from_client, bytes, choice) in turns {
            // Half of it looks like messages.
            let bytes = match tags.next() {
                Some(tag) if choice.is_multiple_of(2) => message(tag, &bytes),
                _ => bytes,
            };
            if from_client && talk.hears_client() {
                talk.from_client.extend_from_slice(&bytes);
            } else if talk.hears_server() {
                talk.from_server.extend_from_slice(&bytes);
            }
            if talk.scan_client(&AS_IT_IS).is_err() || talk.scan_server().is_err() {
                return Ok(());
            }
            if talk.take_asked().is_some() {
                talk.decide(match choice % 16 {
                    0 => Admission::Drop,
                    1 => Admission::SendThenDrop,
                    2 | 3 => Admission::Refuse {
                        sqlstate: "40001".to_owned(),
                        message: "no".to_owned(),
                        first: (choice % 16 == 3).then(|| "ROLLBACK".to_owned()),
                    },
                    _ => Admission::Forward,
                });
            }
            if choice == 255 {
                talk.client_left();
            }
            let _ = talk.take_answered();
            prop_assert!(talk.sendable <= talk.from_client.len());
            prop_assert!(talk.deliverable <= talk.from_server.len());
            if choice % 3 > 0 {
                talk.sent(talk.sendable);
                talk.delivered(talk.deliverable);
            }
        }
    }
}

#[test]
fn a_batch_is_described_and_sent_with_its_new_text_and_so_is_what_was_prepared() {
    let mut talk = Conversation::new(Watch::Units, false);
    let locked = |text: &str| text.strip_suffix(" FOR UPDATE").map(str::to_owned);
    let bind = message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x017\0\0");
    let tail = [bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
    let head = |text: &str| message(b'P', &[b"s\0", text.as_bytes(), b"\0\0\x01\0\0\0\x17"].concat());
    talk.from_client.extend_from_slice(&head("SELECT $1 FROM t FOR UPDATE"));
    talk.from_client.extend_from_slice(&tail);
    talk.scan_client(&Rewrite { anew: &locked, followed: &as_it_is }).expect("messages");
    let Some(Asked::Seen(unit)) = talk.take_asked() else { panic!("nobody is asked") };
    assert_eq!(unit.statements().collect::<Vec<_>>(), ["SELECT $1 FROM t"]);
    talk.decide(Admission::Forward);
    assert_eq!(talk.from_client[..talk.sendable], [head("SELECT $1 FROM t"), tail.clone()].concat());
    talk.sent(talk.sendable);
    let answers = [message(b'1', b""), message(b'2', b""), message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat();
    talk.from_server.extend_from_slice(&answers);
    talk.scan_server().expect("messages");
    assert!(talk.take_answered().is_some());
    // What is bound later was prepared with the new text.
    talk.from_client.extend_from_slice(&tail);
    talk.scan_client(&Rewrite { anew: &locked, followed: &as_it_is }).expect("messages");
    let Some(Asked::Seen(unit)) = talk.take_asked() else { panic!("nobody is asked") };
    assert_eq!(unit.statements().collect::<Vec<_>>(), ["SELECT $1 FROM t"]);
}

/// A client's messages, what follows BEGIN, the server's answers, and what the client hears.
fn heard(messages: &[Vec<u8>], answers: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let mut talk = Conversation::new(Watch::Units, false);
    let begins = |text: &str| (text == "BEGIN").then(|| "SELECT lock()".to_owned());
    talk.from_client.extend_from_slice(&messages.concat());
    talk.scan_client(&Rewrite { anew: &as_it_is, followed: &begins }).expect("messages");
    let Some(Asked::Seen(unit)) = talk.take_asked() else { panic!("nobody is asked") };
    talk.decide(Admission::Forward);
    let sent = talk.from_client[..talk.sendable].to_vec();
    talk.sent(talk.sendable);
    talk.from_server.extend_from_slice(&answers.concat());
    talk.scan_server().expect("messages");
    let (_, answer) = talk.take_answered().flatten().expect("it was answered");
    assert!(!answer.unknown, "{answer:?}");
    let texts = unit.statements().map(str::to_owned).collect();
    (sent, talk.from_server[..talk.deliverable].to_vec(), texts)
}

#[test]
fn what_follows_a_statement_is_asked_and_its_answer_is_kept_from_the_client() {
    let (one, ready) = (|tag: u8, body: &[u8]| message(tag, body), message(b'Z', b"T"));
    let result = [
        one(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
        one(b'D', b"\0\x01\0\0\0\0"),
        one(b'C', b"SELECT 1\0"),
    ];
    let begun = one(b'C', b"BEGIN\0");
    // A simple query.
    let answers = [std::slice::from_ref(&begun), &result[..], std::slice::from_ref(&ready)].concat();
    let (sent, seen, texts) = heard(&[one(b'Q', b"BEGIN\0")], &answers);
    assert_eq!(sent, one(b'Q', b"BEGIN\n; SELECT lock()\0"));
    assert_eq!(seen, [begun.clone(), ready.clone()].concat());
    assert_eq!(texts, ["BEGIN\n; SELECT lock()"]);
    // In the middle of a batch, as some drivers begin.
    let head = [one(b'P', b"\0BEGIN\0\0\0"), one(b'B', b"\0\0\0\0\0\0\0\0"), one(b'E', b"\0\0\0\0\0")];
    let tail =
        [one(b'P', b"s\0SELECT 1\0\0\0"), one(b'B', b"\0s\0\0\0\0\0\0\0"), one(b'E', b"\0\0\0\0\0"), one(b'S', b"")];
    let ours = following("SELECT lock()").expect("a text");
    let done = [one(b'1', b""), one(b'2', b"")];
    let (closed, kept) = (one(b'3', b""), [one(b'D', b"\0\x01\0\0\0\0"), one(b'C', b"SELECT 1\0")]);
    let of_head = [&done[..], std::slice::from_ref(&begun)].concat();
    let closed = std::slice::from_ref(&closed);
    let of_ours = [closed, &done[..], &kept[..], closed, closed].concat();
    let of_tail = [&done[..], &kept[..], std::slice::from_ref(&ready)].concat();
    let messages = [&head[..], &tail[..]].concat();
    let (sent, seen, texts) = heard(&messages, &[&of_head[..], &of_ours[..], &of_tail[..]].concat());
    assert_eq!(sent, [head.concat(), ours, tail.concat()].concat());
    assert_eq!(seen, [&of_head[..], &of_tail[..]].concat().concat());
    assert_eq!(texts, ["BEGIN", "SELECT lock()", "SELECT 1"]);
    // What it fails with is the client's, too.
    let failed = one(b'E', b"SERROR\0C55P03\0Mlocked\0\0");
    let answers = [&of_head[..], &of_ours[..3], &[failed.clone(), ready.clone()]].concat();
    let (_, seen, _) = heard(&messages, &answers);
    assert_eq!(seen, [&of_head[..], &[failed, ready]].concat().concat());
}

/// Reads on as long as the session would, and gives the most that was held.
fn most_held(talk: &mut Conversation, mut bytes: impl FnMut() -> Vec<u8>, total: usize) -> usize {
    let (mut moved, mut most) = (0, 0);
    while moved < total {
        assert!(talk.hears_client(), "nothing more is read, and nothing is sent");
        let piece = bytes();
        moved += piece.len();
        talk.from_client.extend_from_slice(&piece);
        talk.scan_client(&AS_IT_IS).expect("messages");
        most = most.max(talk.from_client.len());
        if let Some(asked) = talk.take_asked() {
            assert!(matches!(asked, Asked::Seen(_)));
            talk.decide(Admission::Forward);
        }
        talk.sent(talk.sendable);
    }
    most
}

#[test]
fn a_message_of_a_gigabyte_is_judged_by_its_beginning_and_streams_through() {
    for tag in *b"QPBdz" {
        let mut talk = Conversation::new(Watch::Units, false);
        let mut first = vec![tag];
        first.extend((1_u32 << 30).to_be_bytes());
        let mut pieces = std::iter::once(first).chain(std::iter::repeat(vec![b'x'; READ_BYTES_MAX]));
        let most = most_held(&mut talk, || pieces.next().expect("endless"), 64 << 20);
        assert!(most <= UNIT_BYTES_MAX + READ_BYTES_MAX, "{most} bytes were held");
    }
}

#[test]
fn a_batch_without_an_end_is_judged_by_its_beginning() {
    let mut talk = Conversation::new(Watch::Units, false);
    let flight = message(b'P', b"\0SELECT 1\0\0\0").repeat(1000);
    let mut moved = 0;
    // The server has not answered yet, so no more is read at some point.
    while talk.hears_client() && moved < 8 << 20 {
        moved += flight.len();
        talk.from_client.extend_from_slice(&flight);
        talk.scan_client(&AS_IT_IS).expect("messages");
        if let Some(Asked::Seen(unit)) = talk.take_asked() {
            assert!(!unit.whole && unit.steps_left_out > 0);
            talk.decide(Admission::Forward);
        }
        talk.sent(talk.sendable);
    }
    assert!(talk.from_client.len() <= UNIT_BYTES_MAX + 2 * READ_BYTES_MAX);
    // Its answers let it go on.
    let before = talk.from_client.len();
    for _ in 0..100 {
        talk.from_server.extend_from_slice(&message(b'1', b"").repeat(1000));
        talk.scan_server().expect("messages");
        talk.delivered(talk.deliverable);
        talk.scan_client(&AS_IT_IS).expect("messages");
        talk.sent(talk.sendable);
    }
    assert!(talk.from_client.len() < before);
}

#[test]
fn a_row_of_a_gigabyte_streams_through() {
    let mut talk = Conversation::new(Watch::Rows { bytes_max: usize::MAX }, false);
    let mut first = vec![b'D'];
    first.extend((1_u32 << 30).to_be_bytes());
    talk.from_server.extend_from_slice(&first);
    for _ in 0..512 {
        assert!(talk.hears_server());
        talk.from_server.extend_from_slice(&[0; READ_BYTES_MAX]);
        talk.scan_server().expect("messages");
        assert!(talk.from_server.len() < ANSWER_BYTES_MAX + READ_BYTES_MAX);
        talk.delivered(talk.deliverable);
    }
}
