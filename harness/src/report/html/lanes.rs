//! Where everything of a counterexample lies on its grid: lanes from left to right, moments from the top down. Pure.

/// What becomes visible at a moment in one actor's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ended.
    Done,
    /// It was to keep what its transaction did, and took it back.
    RolledBack,
    /// The database refused it.
    Failed,
    /// It waits, as the server reports.
    Waits,
    /// It was sent, and is answered later; whether it waits is not known.
    UnderWay,
}

impl Kind {
    /// Whether its answer is still to come.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waits | Self::UnderWay)
    }
}

/// One thing in one lane at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// In which lane.
    pub lane: usize,
    /// What.
    pub kind: Kind,
    /// For whose lanes it waits.
    pub waits_for: Vec<usize>,
    /// It goes on with what was sent before.
    pub goes_on: bool,
}

/// An open transaction after a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// In which lane.
    pub lane: usize,
    /// It holds locks that others may have to wait for.
    pub holds: bool,
    /// It has failed.
    pub aborted: bool,
}

/// A moment: what became visible, and what was open afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// What became visible.
    pub marks: Vec<Mark>,
    /// The transactions that were open afterwards.
    pub open: Vec<Open>,
}

/// A stretch of a lane, from one moment to another one, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<K> {
    /// In which lane.
    pub lane: usize,
    /// What it shows.
    pub kind: K,
    /// From this moment on, from 0.
    pub from: usize,
    /// To this one.
    pub to: usize,
}

/// What a band beside a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// A transaction is open.
    Transaction,
    /// It holds locks.
    Holds,
    /// It has failed.
    Aborted,
}

/// Somebody begins to wait for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// At which moment.
    pub at: usize,
    /// Whose lane.
    pub from: usize,
    /// The lane of whom it waits for.
    pub to: usize,
    /// How many arrows of this moment come before it.
    pub nth: usize,
}

/// Everything that is drawn beside the boxes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Transactions and the locks that they hold.
    pub bands: Vec<Stretch<Band>>,
    /// The time between a question and its later answer; the moments of both are not part of it.
    pub strips: Vec<Stretch<()>>,
    /// Who waits for whom.
    pub arrows: Vec<Arrow>,
}

/// Lays moments out.
pub fn lay_out(moments: &[Moment], lanes: usize) -> Layout {
    let mut layout = Layout::default();
    for lane in 0..lanes {
        layout.bands.extend(bands(moments, lane));
        layout.strips.extend(strips(moments, lane));
    }
    for (at, moment) in moments.iter().enumerate() {
        let waits = moment.marks.iter().filter(|mark| mark.kind == Kind::Waits);
        let pairs = waits.flat_map(|mark| mark.waits_for.iter().map(|to| (mark.lane, *to)));
        let arrows = pairs.filter(|(from, to)| from != to && *to < lanes);
        layout.arrows.extend(arrows.enumerate().map(|(nth, (from, to))| Arrow { at, from, to, nth }));
    }
    layout
}

/// The bands of one lane. A transaction's reaches to the moment at which its end was answered.
fn bands(moments: &[Moment], lane: usize) -> Vec<Stretch<Band>> {
    let kind = |moment: &Moment| {
        let open = moment.open.iter().find(|open| open.lane == lane)?;
        Some(match (open.aborted, open.holds) {
            (true, _) => Band::Aborted,
            (false, true) => Band::Holds,
            (false, false) => Band::Transaction,
        })
    };
    let mut bands: Vec<Stretch<Band>> = Vec::new();
    for (at, moment) in moments.iter().enumerate() {
        let before = bands.last_mut().filter(|band| band.to + 1 == at);
        match (before, kind(moment)) {
            (Some(band), Some(kind)) if band.kind == kind => band.to = at,
            (_, Some(kind)) => bands.push(Stretch { lane, kind, from: at, to: at }),
            // The step that ended it is part of it.
            (Some(band), None) => {
                let was_open = kind(&moments[at - 1]).is_some();
                if was_open && moment.marks.iter().any(|mark| mark.lane == lane) {
                    band.to = at;
                }
            }
            (None, None) => {}
        }
    }
    bands
}

/// From each question of a lane to its answer, or to the end.
fn strips(moments: &[Moment], lane: usize) -> Vec<Stretch<()>> {
    let mut strips = Vec::new();
    let mut since: Option<usize> = None;
    for (at, moment) in moments.iter().enumerate() {
        for mark in moment.marks.iter().filter(|mark| mark.lane == lane) {
            if let Some(since) = since.take().filter(|since| since + 1 < at) {
                strips.push(Stretch { lane, kind: (), from: since + 1, to: at - 1 });
            }
            since = mark.kind.is_open().then_some(at);
        }
    }
    if let Some(since) = since.filter(|since| since + 1 < moments.len()) {
        strips.push(Stretch { lane, kind: (), from: since + 1, to: moments.len() - 1 });
    }
    strips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(lane: usize, kind: Kind) -> Mark {
        Mark { lane, kind, waits_for: Vec::new(), goes_on: false }
    }

    fn moment(marks: Vec<Mark>, open: &[(usize, bool, bool)]) -> Moment {
        let open = open.iter().map(|(lane, holds, aborted)| Open { lane: *lane, holds: *holds, aborted: *aborted });
        Moment { marks, open: open.collect() }
    }

    #[test]
    fn a_band_reaches_to_the_step_that_ends_its_transaction_and_changes_where_locks_begin() {
        let moments = [
            moment(vec![mark(0, Kind::Done)], &[(0, false, false)]),
            moment(vec![mark(1, Kind::Done)], &[(0, false, false)]),
            moment(vec![mark(0, Kind::Done)], &[(0, true, false)]),
            moment(vec![mark(0, Kind::Done)], &[]),
            moment(vec![mark(0, Kind::Done)], &[]),
        ];
        let of = |kind, from, to| Stretch { lane: 0, kind, from, to };
        assert_eq!(lay_out(&moments, 2).bands, [of(Band::Transaction, 0, 1), of(Band::Holds, 2, 3)]);
    }

    #[test]
    fn a_transaction_that_another_step_ended_is_not_drawn_on() {
        let moments = [
            moment(vec![mark(0, Kind::Done)], &[(0, true, false)]),
            moment(vec![mark(1, Kind::Done)], &[]),
            moment(vec![mark(0, Kind::Failed)], &[(0, false, true)]),
        ];
        let of = |kind, from, to| Stretch { lane: 0, kind, from, to };
        assert_eq!(lay_out(&moments, 2).bands, [of(Band::Holds, 0, 0), of(Band::Aborted, 2, 2)]);
    }

    #[test]
    fn a_wait_is_drawn_until_its_answer_or_to_the_end_with_an_arrow_to_each_whom_it_waits_for() {
        let waits = |lane, waits_for: &[usize]| Mark { waits_for: waits_for.to_vec(), ..mark(lane, Kind::Waits) };
        let moments = [
            moment(vec![waits(2, &[0, 1])], &[]),
            moment(vec![mark(0, Kind::Done)], &[]),
            moment(vec![mark(1, Kind::Done)], &[]),
            moment(vec![mark(0, Kind::Done), mark(2, Kind::Done)], &[]),
            moment(vec![waits(1, &[7, 1])], &[]),
            moment(vec![mark(0, Kind::Done)], &[]),
        ];
        let layout = lay_out(&moments, 3);
        let strip = |lane, from, to| Stretch { lane, kind: (), from, to };
        assert_eq!(layout.strips, [strip(1, 5, 5), strip(2, 1, 2)]);
        let arrow = |to, nth| Arrow { at: 0, from: 2, to, nth };
        assert_eq!(layout.arrows, [arrow(0, 0), arrow(1, 1)], "no arrow to oneself, nor out of the picture");
    }
}
