//! Two builds side by side: each measurement is run with one and with the other by turns, so that whatever else the machine
//! does meets both, and each pair gives a ratio of each figure.

use std::path::{Path, PathBuf};

use rekeyd_tests::figures::{median, spread};
use serde_json::{Value, json};

use crate::{
    Bench, Context,
    report::{Better, Report, Table},
};

/// A smaller difference is called none.
const NOISE: f64 = 0.03;
/// Fewer pairs agree by chance too often.
const FEWEST: usize = 5;

/// Runs one measurement so many times with each of the two programs.
pub(crate) fn compare(context: &Context, bench: &Bench, other: &Path, pairs: u32) -> Value {
    let run = |binary: PathBuf| {
        let mut report = Report::quiet();
        (bench.run)(&Context { binary, baselines: false, ..context.clone() }, &mut report);
        report
    };
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        eprintln!("{}: pair {} of {pairs}", bench.name, pair + 1);
        ours.push(run(context.binary.clone()));
        others.push(run(other.to_owned()));
    }
    let mut table = Table::new(
        &format!("{}: this build against {}, {pairs} pairs", bench.name, other.display()),
        &["figure", "this", "other", "unit", "ratio", "least", "most", "verdict"],
    );
    let mut figures = Vec::new();
    let Some(first) = ours.first() else { return Value::Null };
    for figure in &first.figures {
        let values = |reports: &[Report]| -> Vec<f64> {
            let of = |report: &Report| report.figures.iter().find(|one| one.name == figure.name).map(|one| one.value);
            reports.iter().map(|report| of(report).unwrap_or(f64::NAN)).collect()
        };
        let (this, that) = (values(&ours), values(&others));
        let ratios: Vec<f64> =
            this.iter().zip(&that).map(|(this, that)| this / that).filter(|ratio| ratio.is_finite()).collect();
        let (ratio, (least, most)) = (median(&ratios), spread(&ratios));
        let verdict = verdict(&ratios, figure.better);
        table.row(vec![
            figure.name.clone(),
            format!("{:.3}", median(&this)),
            format!("{:.3}", median(&that)),
            figure.unit.into(),
            format!("{ratio:.3}"),
            format!("{least:.3}"),
            format!("{most:.3}"),
            verdict.into(),
        ]);
        figures.push(json!({"name": figure.name, "unit": figure.unit, "this": this, "other": that, "ratio": ratio, "least": least, "most": most}));
    }
    let mut report = Report::default();
    report.table(table);
    for (name, reports) in [("this", &ours), ("other", &others)] {
        for fault in reports.iter().flat_map(|report| &report.faults) {
            report.fault(Some(format!("{name}: {fault}")));
        }
    }
    json!({"figures": figures, "faults": report.faults})
}

/// What the pairs say: only what all of them agree on counts. One figure in sixteen still agrees by chance in five pairs, so
/// what matters is run again, with more.
fn verdict(ratios: &[f64], better: Better) -> &'static str {
    let (ratio, (least, most)) = (median(ratios), spread(ratios));
    let agreed = ratios.len() >= FEWEST && (least > 1.0 || most < 1.0);
    match (agreed && (ratio - 1.0).abs() > NOISE, ratio > 1.0, better) {
        (false, _, _) => "-",
        (true, true, Better::Higher) | (true, false, Better::Lower) => "better",
        (true, _, _) => "WORSE",
    }
}
