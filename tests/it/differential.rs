//! D6: what the servers themselves do with the accounts of the one list, and that rekeyd's verdict agrees with it.

use futures_util::{StreamExt, stream};
use rekeyd_tests::{
    estate::{Estate, Product, door},
    making::password,
    situations::{ALL, Situation},
    tests,
};

tests! {
    async fn d6_the_right_password_opens_what_the_list_says_active_directory;
    async fn d6_the_right_password_opens_what_the_list_says_ds389;
    async fn d6_the_right_password_opens_what_the_list_says_openldap;
}

/// So many accounts are seen to at once.
const ABREAST: usize = 8;

async fn d6_the_right_password_opens_what_the_list_says_active_directory() {
    doors(Product::ActiveDirectory).await;
}

async fn d6_the_right_password_opens_what_the_list_says_ds389() {
    doors(Product::Ds389).await;
}

async fn d6_the_right_password_opens_what_the_list_says_openldap() {
    doors(Product::OpenLdap).await;
}

async fn doors(product: Product) {
    let estate = &Estate::claim(product).await;
    let wrong = stream::iter(ALL).map(async |situation: &Situation| {
        let truth = situation.on(product)?;
        estate.make(situation.name).await;
        let answer = estate.bind(&estate.dn_of(situation.name), password(situation.name)).await;
        let is = door(product, &answer);
        (is != truth.door).then(|| format!("{}: {is:?}, not {:?}: {answer:?}", situation.name, truth.door))
    });
    let wrong: Vec<_> = wrong.buffer_unordered(ABREAST).filter_map(async |fault| fault).collect().await;
    assert!(wrong.is_empty(), "{product:?}:\n{}", wrong.join("\n"));
}
