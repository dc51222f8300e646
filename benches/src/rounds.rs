//! Sides take turns, so that what the machine does besides hits all of them.

/// Lets each of so many `sides` run once per round and gives what each gave, in the order of the rounds. Every other
/// round goes backwards: nobody always runs behind the same one.
///
/// # Errors
/// A run fails.
pub fn alternate<T, E>(
    rounds: usize,
    sides: usize,
    mut run: impl FnMut(usize) -> Result<T, E>,
) -> Result<Vec<Vec<T>>, E> {
    let mut results: Vec<Vec<T>> = (0..sides).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for turn in 0..sides {
            let side = if round % 2 == 0 { turn } else { sides - 1 - turn };
            results[side].push(run(side)?);
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::alternate;

    #[test]
    fn every_other_round_goes_backwards() {
        let mut order = Vec::new();
        let results = alternate(2, 3, |side| {
            order.push(side);
            Ok::<_, &str>(order.len())
        });
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
        assert_eq!(results.expect("nothing fails"), [[1, 6], [2, 5], [3, 4]]);
    }
}
