//! A scripted run with a power cut after every single operation.
//!
//! At every step of the script, and after every operation in between, the whole world is copied and its
//! power cut, with several fates of what was not durable; what is left must open, keep every promise
//! made so far, and go on working until it is empty.

use super::disk::Pace;
use super::plan::Plan;
use super::workload::Move;
use super::world::{Config, Failure, World};

/// A line of a script.
#[derive(Clone, Debug)]
pub enum Line {
    /// Something happens; the next line does not wait for it.
    Do(Move),
    /// Wait until every request and command is answered.
    Quiet,
    /// Wait until every command is answered.
    Answered,
    /// Go on for so many turns of the loop, whatever is in flight.
    Turns(u32),
}

/// Turns within which a line of a script ends.
const TURNS_MAX: u32 = 20_000;

/// Runs the script; after every operation the power is cut `fates` times. Gives the number of cuts.
///
/// # Errors
/// The first promise that was broken, in the run itself or after a power cut.
pub fn run_with_cuts(
    plan: &Plan,
    script: &[Line],
    fates: u64,
    config: Config,
) -> Result<u64, Failure> {
    let mut world = World::with_plan(fates, plan.clone(), Pace::InOrder, config)?;
    let mut cuts = 0;
    let outcome = play(&mut world, script, fates, &mut cuts);
    outcome.map_err(|message| world.failure(format!("after {cuts} power cuts: {message}")))?;
    Ok(cuts)
}

fn play(world: &mut World, script: &[Line], fates: u64, cuts: &mut u64) -> Result<(), String> {
    for line in script {
        match line {
            Line::Do(next) => world.make(next.clone())?,
            Line::Turns(turns) => {
                for _ in 0..*turns {
                    turn(world, fates, cuts)?;
                }
            }
            Line::Answered => {
                until(world, fates, cuts, |world| world.commanded.is_empty())?;
            }
            Line::Quiet => {
                until(world, fates, cuts, World::is_quiet)?;
            }
        }
    }
    world.compare_all()?;
    world.empty()
}

/// Turns until `done`; too many are a failure (I21).
fn until(
    world: &mut World,
    fates: u64,
    cuts: &mut u64,
    done: impl Fn(&World) -> bool,
) -> Result<(), String> {
    for _ in 0..TURNS_MAX {
        if done(world) {
            return Ok(());
        }
        turn(world, fates, cuts)?;
    }
    Err(format!("nothing moves (I21) within {TURNS_MAX} turns"))
}

fn turn(world: &mut World, fates: u64, cuts: &mut u64) -> Result<(), String> {
    let before = world.disk.trace();
    world.turn()?;
    if world.disk.trace() == before {
        return Ok(());
    }
    for _ in 0..fates {
        *cuts += 1;
        let mut twin = world.after_power_cut(*cuts)?;
        twin.refresh_all()?;
        twin.empty()?;
    }
    Ok(())
}
