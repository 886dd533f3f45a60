//! D6: what the servers themselves do with the accounts of the one list, at a bind with the right password and when the
//! person changes it, and that rekeyd's verdict agrees with both.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use rekeyd_tests::{
    estate::{Estate, Product, door},
    making::password,
    situations::{ALL, Door, Situation, Truth},
    tests,
    world::World,
};

tests! {
    async fn d6_the_verdict_agrees_with_the_server_active_directory;
    async fn d6_the_verdict_agrees_with_the_server_ds389;
    async fn d6_the_verdict_agrees_with_the_server_openldap;
}

/// So many accounts are seen to at once.
const ABREAST: usize = 8;
const NEXT: &str = "Kx3Vz8Qw5JyW9Gd4";

/// Where the verdict and the server do not agree at a bind, and why that is right.
const EXCEPTIONS: &[(Product, &str, &str)] = &[
    (Product::OpenLdap, "disabled", "the mark is the organisation's own, and its server knows nothing of it"),
    (Product::OpenLdap, "first-password", "a password that nobody is known to have set counts as none"),
    (Product::OpenLdap, "hidden", "what can't be seen can't agree: such an account is refused"),
    (Product::ActiveDirectory, "hidden", "what can't be seen can't agree: such an account is refused"),
    (Product::ActiveDirectory, "hidden-admin", "what can't be seen can't agree: such an account is refused"),
    (Product::ActiveDirectory, "hidden-marker", "what can't be seen can't agree: such an account is refused"),
    (Product::ActiveDirectory, "hidden-service", "what can't be seen can't agree: such an account is refused"),
    (Product::ActiveDirectory, "no-hours", "the time of day keeps out and does not concern a reset"),
    (Product::Ds389, "hidden", "what can't be seen can't agree: such an account is refused"),
    (Product::Ds389, "no-password", "nobody may see whether there is one"),
    (Product::Ds389, "not-yet-valid", "a temporary password of which the time has not come counts as must-change"),
];

async fn d6_the_verdict_agrees_with_the_server_active_directory() {
    agrees(Product::ActiveDirectory).await;
}

async fn d6_the_verdict_agrees_with_the_server_ds389() {
    agrees(Product::Ds389).await;
}

async fn d6_the_verdict_agrees_with_the_server_openldap() {
    agrees(Product::OpenLdap).await;
}

async fn agrees(product: Product) {
    let estate = &Arc::new(Estate::claim(product).await);
    let people: Vec<_> = ALL.iter().filter_map(|one| Some((one, one.on(product)?))).collect();
    let made = stream::iter(&people).map(async |(situation, _)| estate.make(situation.name).await);
    made.buffer_unordered(ABREAST).collect::<()>().await;
    let marker = if product == Product::Ds389 { "" } else { r#"["employeeType=disabled"]"# };
    let world = World::builder().estate(estate).set("directory.markers.disabled", marker).start().await;
    let verdicts = people.iter().map(|(situation, truth)| (*situation, truth, findings(&world, situation)));
    let told = stream::iter(verdicts.collect::<Vec<_>>())
        .map(async |(situation, truth, findings)| compared(estate, situation, truth, findings).await);
    let faults: Vec<String> = told.buffer_unordered(ABREAST).collect::<Vec<_>>().await.concat();
    assert!(faults.is_empty(), "{product:?}:\n{}", faults.join("\n"));
}

/// What rekeyd finds with somebody; none where it does not find exactly one.
fn findings(world: &World, situation: &Situation) -> Option<Vec<String>> {
    let told = world.rekeyctl(&["--json", "explain", &world.estate().login_of(situation.name)], "").json();
    let findings = told["account"]["findings"].as_array()?;
    Some(findings.iter().map(|finding| finding["finding"].as_str().expect("a code").to_owned()).collect())
}

/// What follows from the findings for somebody who signs in with the right password.
fn predicted(product: Product, findings: &[String]) -> Door {
    let has = |codes: &[&str]| findings.iter().any(|finding| codes.contains(&finding.as_str()));
    let shut = ["disabled", "expired", "locked-by-admin", "locked-by-failures", "not-yet-valid", "password-elsewhere"];
    if has(&shut) {
        Door::Shut
    } else if has(&["must-change", "password-expired"])
        && !(product == Product::ActiveDirectory && has(&["never-activated"]))
    {
        Door::ChangeFirst
    } else if has(&["never-activated", "unknown"]) {
        Door::Shut
    } else {
        Door::Open
    }
}

async fn compared(estate: &Estate, situation: &Situation, truth: &Truth, findings: Option<Vec<String>>) -> Vec<String> {
    let (product, name) = (estate.product(), situation.name);
    let (dn, right) = (estate.dn_of(name), password(name));
    let mut faults = Vec::new();
    let answer = estate.bind(&dn, right).await;
    let is = door(product, &answer);
    if is != truth.door {
        faults.push(format!("{name}: the server: {is:?}, not {:?}: {answer:?}", truth.door));
    }
    if let Some(findings) = &findings {
        let says = predicted(product, findings);
        let is_exception = EXCEPTIONS.iter().any(|(where_, who, _)| (*where_, *who) == (product, name));
        if (says == is) == is_exception {
            faults.push(format!(
                "{name}: rekeyd: {says:?} by {findings:?}; the server: {is:?}; exception: {is_exception}"
            ));
        }
    }
    // Who must change the password first is let in for that by some; others have another protocol for it.
    let comes_in = answer.rc == 0;
    let may = findings.is_none_or(|findings| !findings.iter().any(|finding| finding == "holder-may-not-change"));
    let changed = estate.change_own(&dn, right, NEXT).await;
    if (changed.rc == 0) != (comes_in && may) {
        faults.push(format!("{name}: comes in: {comes_in}, may change: {may}; the server: {changed:?}"));
    }
    faults
}
