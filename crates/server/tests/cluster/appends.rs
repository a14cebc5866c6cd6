//! Appends to lists, and whether all that was seen of them can have happened one after the other.
//!
//! Each list is an object. An append reads it at any node and writes it, longer by one, at any other, on the condition
//! that it has not changed: so it is a transaction that reads a list and writes the next one. From the final lists
//! follows which transaction came after which: the one that appended an element after the one that appended the element
//! before it (ww); whoever read an element after the one that appended it (wr); whoever appended the next element after
//! whoever read the list without it (rw); and an append that began after another one was acknowledged, after that one
//! (real time). A cycle of these is an anomaly: something that no order of the transactions explains.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use petgraph::{algo::tarjan_scc, graph::DiGraph};
use tokio::time::timeout;

use crate::balancer::{Balancer, request};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const LISTS: u64 = 3;

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At this sequence.
    Done(u64),
    /// Nobody knows.
    Unknown,
}

/// What was done or seen. Only what may have had an effect, or was seen, is in a history.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) list: u64,
    /// The list as it was read.
    pub(crate) read: Vec<u64>,
    /// The element that was appended to that, if one was.
    pub(crate) append: Option<(u64, Outcome)>,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

fn path(list: u64) -> String {
    format!("/v1/objects/list:{list}")
}

/// A list as a node has it, and the condition that it still stands there.
pub(crate) async fn read(address: &str, list: u64) -> Option<(Vec<u64>, String)> {
    let answer = timeout(PATIENCE, request(address, "GET", &path(list), None, "")).await.ok()??;
    match answer.status {
        404 => Some((Vec::new(), "if-none-match: *".to_owned())),
        200 => {
            let body: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
            let list = body["value"].as_array()?.iter().filter_map(serde_json::Value::as_u64).collect();
            Some((list, format!("if-match: {}", answer.tag?)))
        }
        _ => None,
    }
}

/// Appends until `end`. Elements are told apart by the appender's number.
pub(crate) async fn appender(balancer: Balancer, number: u64, seed: u64, end: Instant) -> Vec<Transaction> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut history = Vec::new();
    let mut element = number << 32;
    while Instant::now() < end {
        let up = balancer.up();
        let list = dice.u64(..LISTS);
        let Some([from, to]) = (!up.is_empty()).then(|| [0, 0].map(|_| up[dice.usize(..up.len())].clone()))
        else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let began = Instant::now();
        let Some((before, condition)) = read(&from, list).await else { continue };
        element += 1;
        let after: Vec<_> = before.iter().copied().chain([element]).collect();
        let body = serde_json::to_string(&after).unwrap();
        let path = path(list);
        let write = request(&to, "PUT", &path, Some(&condition), &body);
        let outcome = match timeout(PATIENCE, write).await.ok().flatten() {
            Some(answer) if answer.status == 200 => {
                let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                Some(Outcome::Done(body["sequence"].as_u64().unwrap()))
            }
            // It stood elsewhere: nothing was done.
            Some(answer) if answer.status == 412 => None,
            _ => Some(Outcome::Unknown),
        };
        let append = outcome.map(|outcome| (element, outcome));
        history.push(Transaction { list, read: before, append, began, ended: Instant::now() });
    }
    history
}

/// Everything that is wrong with a history, given the lists at its end.
pub(crate) fn check(history: &[Transaction], last: &BTreeMap<u64, Vec<u64>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut graph = DiGraph::<usize, &'static str>::new();
    let nodes: Vec<_> = (0..history.len()).map(|index| graph.add_node(index)).collect();
    let mut appended = BTreeMap::new();
    let mut positions = BTreeSet::new();
    for (index, transaction) in history.iter().enumerate() {
        let Some((element, outcome)) = transaction.append else { continue };
        appended.insert(element, index);
        let is_there = last[&transaction.list].contains(&element);
        if let Outcome::Done(sequence) = outcome {
            if !is_there {
                faults.push(format!("{element} was acknowledged in list {} and is lost", transaction.list));
            }
            if !positions.insert((transaction.list, sequence)) {
                faults.push(format!("sequence {sequence} of list {} was given twice", transaction.list));
            }
        }
    }
    for (list, elements) in last {
        if elements.iter().collect::<BTreeSet<_>>().len() < elements.len() {
            faults.push(format!("list {list} has an element twice"));
        }
        for pair in elements.windows(2) {
            if let [Some(before), Some(after)] = [0, 1].map(|at| appended.get(&pair[at])) {
                graph.add_edge(nodes[*before], nodes[*after], "ww");
            }
        }
    }
    for (index, Transaction { list, read, .. }) in history.iter().enumerate() {
        let elements = &last[list];
        if !elements.starts_with(read) {
            faults.push(format!("list {list} was read as {read:?}, which it never was"));
            continue;
        }
        if let Some(writer) = read.last().and_then(|element| appended.get(element)) {
            graph.add_edge(nodes[*writer], nodes[index], "wr");
        }
        let next = elements.get(read.len()).and_then(|element| appended.get(element));
        if let Some(next) = next.filter(|next| **next != index) {
            graph.add_edge(nodes[index], nodes[*next], "rw");
        }
    }
    // Real time, among what was acknowledged. Reads may be behind: they promise no more than their node has.
    let mut done: Vec<_> = (0..history.len())
        .filter(|index| matches!(history[*index].append, Some((_, Outcome::Done(_)))))
        .collect();
    done.sort_by_key(|index| history[*index].ended);
    for (place, before) in done.iter().enumerate() {
        let mut horizon: Option<Instant> = None;
        let mut later: Vec<_> = done[place + 1..].to_vec();
        later.sort_by_key(|index| history[*index].began);
        for after in later.into_iter().filter(|index| history[*index].began > history[*before].ended) {
            // What began after another one of these had ended follows from that one.
            if horizon.is_some_and(|horizon| history[after].began > horizon) {
                break;
            }
            horizon = Some(horizon.map_or(history[after].ended, |end| end.min(history[after].ended)));
            graph.add_edge(nodes[*before], nodes[after], "real time");
        }
    }
    for cycle in tarjan_scc(&graph).into_iter().filter(|component| component.len() > 1) {
        let told: Vec<_> = cycle.iter().take(8).map(|node| &history[graph[*node]]).collect();
        faults.push(format!("{} transactions follow each other in a circle: {told:?}", cycle.len()));
    }
    faults
}

mod tests {
    use super::*;

    fn transaction(list: u64, read: &[u64], append: u64, sequence: u64, at: u64) -> Transaction {
        let start = Instant::now();
        let [began, ended] = [at, at + 1].map(|at| start + Duration::from_millis(10 * at));
        Transaction {
            list,
            read: read.to_vec(),
            append: Some((append, Outcome::Done(sequence))),
            began,
            ended,
        }
    }

    #[test]
    fn appends_one_after_the_other_are_no_circle() {
        let history =
            [transaction(0, &[], 1, 1, 0), transaction(0, &[1], 2, 2, 2), transaction(1, &[], 3, 1, 4)];
        let last = BTreeMap::from([(0, vec![1, 2]), (1, vec![3])]);
        assert_eq!(check(&history, &last), Vec::<String>::new());
    }

    #[test]
    fn a_lost_append_a_position_given_twice_and_a_read_of_what_never_was_are_found() {
        let history =
            [transaction(0, &[], 1, 1, 0), transaction(0, &[], 2, 1, 2), transaction(0, &[9], 3, 3, 4)];
        let faults = check(&history, &BTreeMap::from([(0, vec![1, 3])])).join("; ");
        for fault in ["2 was acknowledged", "given twice", "never was"] {
            assert!(faults.contains(fault), "{faults}");
        }
    }

    #[test]
    fn an_order_against_real_time_is_a_circle() {
        // The second one began when the first one was acknowledged, and stands before it.
        let history = [transaction(0, &[2], 1, 2, 0), transaction(0, &[], 2, 1, 5)];
        let faults = check(&history, &BTreeMap::from([(0, vec![2, 1])])).join("; ");
        assert!(faults.contains("in a circle"), "{faults}");
    }
}
