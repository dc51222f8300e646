//! The naive truth on examples small enough to be checked by hand.

use super::*;
use crate::sim::pattern;

const WHOLE: ByteRange = ByteRange { start: 0, end: 4096 };

/// A model with volumes 1 and 2 of 64 KiB and one write, answered, in the first block of volume 1.
fn written(model: &mut Model) -> u32 {
    model.create_volume(1, 65_536);
    model.create_volume(2, 65_536);
    write(model)
}

fn write(model: &mut Model) -> u32 {
    let number = model.next_number();
    model.begin_write(1, WHOLE, number, Value::Data { write: number, shift: 0 }, true);
    model.end_write(1, WHOLE, number, false);
    number
}

fn data(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    pattern::fill(number, 0, &mut bytes);
    bytes
}

fn establish(model: &mut Model) -> Vec<usize> {
    let pair = Pair { source: 1, target: 2, source_start: 0, target_start: 0, bytes: 65_536 };
    let (_, images) = model.begin_establish(&[pair], None);
    model.end_establish(&images);
    images
}

#[test]
fn a_read_gives_the_last_answered_write_and_nothing_older() {
    let mut model = Model::default();
    let old = written(&mut model);
    let new = write(&mut model);
    let since = model.begin_read();
    assert!(model.judge(1, 0, &data(new), View::Live(since)).is_ok());
    assert!(model.judge(1, 0, &data(old), View::Live(since)).is_err());
    assert!(model.judge(1, 0, &[0; 4096], View::Live(since)).is_err());
}

#[test]
fn a_power_cut_may_lose_what_was_not_flushed_but_nothing_else() {
    let mut model = Model::default();
    let old = written(&mut model);
    let since = model.begin_read();
    model.flushed(1, since);
    let new = write(&mut model);
    model.crash();
    assert!(model.clone().settle(1, 0, &data(old), View::AfterPowerCut).is_ok());
    assert!(model.clone().settle(1, 0, &data(new), View::AfterPowerCut).is_ok());
    assert!(model.settle(1, 0, &[0; 4096], View::AfterPowerCut).is_err());
    let mixed = [&data(old)[..700], &data(new)[700..]].concat();
    assert!(
        model.settle(1, 0, &mixed, View::AfterPowerCut).is_err(),
        "a sector is never a mixture"
    );
}

#[test]
fn a_target_is_its_source_at_t0_whatever_is_written_later() {
    let mut model = Model::default();
    let old = written(&mut model);
    establish(&mut model);
    let new = write(&mut model);
    let since = model.begin_read();
    assert!(model.judge(2, 0, &data(old), View::Live(since)).is_ok());
    assert!(model.judge(2, 0, &data(new), View::Live(since)).is_err());
}

#[test]
fn an_image_may_lose_unflushed_writes_until_it_is_durable() {
    let mut model = Model::default();
    let old = written(&mut model);
    let image = establish(&mut model)[0];
    let mut durable = model.clone();
    durable.image_is_durable(image);
    for (model, admitted) in [(&mut model, true), (&mut durable, false)] {
        model.crash();
        assert!(model.clone().settle(2, 0, &data(old), View::AfterPowerCut).is_ok());
        assert_eq!(model.settle(2, 0, &[0; 4096], View::AfterPowerCut).is_ok(), admitted);
    }
}

#[test]
fn two_reads_of_an_image_agree_on_its_instant() {
    let mut model = Model::default();
    let first = written(&mut model);
    let pair = Pair { source: 1, target: 2, source_start: 0, target_start: 0, bytes: 65_536 };
    let (_, images) = model.begin_establish(&[pair], None);
    let second = write(&mut model);
    let third = write(&mut model);
    model.end_establish(&images);
    let since = model.begin_read();
    for any in [first, second, third] {
        assert!(model.clone().judge(2, 512, &data(any)[512..], View::Live(since)).is_ok());
    }
    assert!(model.judge(2, 0, &data(third)[..512], View::Live(since)).is_ok());
    assert!(model.judge(2, 512, &data(second)[512..], View::Live(since)).is_ok());
    assert!(model.judge(2, 512, &data(first)[512..], View::Live(since)).is_err());
}
