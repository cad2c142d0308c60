//! Seeds: many at once, and by name those in which something was once wrong.

use miroir_sim::{Options, play, sweep};

#[test]
fn five_hundred_seeds_keep_every_promise() {
    let sum = sweep(0..500, Options::default());
    for finding in &sum.findings {
        println!("seed {}: {:#?}", finding.seed, finding.wrong);
    }
    println!("{:?}", sum.total);
    assert!(sum.findings.is_empty(), "{} seeds", sum.findings.len());
    // The seeds are not idle.
    assert!(sum.total.crashes > 500 && sum.total.reads > 20_000 && sum.total.errors > 100);
}

#[test]
fn two_hundred_seeds_in_which_indexes_are_cut_anew_keep_every_promise() {
    let options = Options {
        has_reshards: true,
        ..Options::default()
    };
    let sum = sweep(0..200, options);
    for finding in &sum.findings {
        println!("seed {}: {:#?}", finding.seed, finding.wrong);
    }
    println!("{:?}", sum.total);
    assert!(sum.findings.is_empty(), "{} seeds", sum.findings.len());
    assert!(sum.total.epochs > 200, "placements changed");
}

#[test]
fn two_hundred_seeds_in_which_nodes_are_ill_keep_every_promise() {
    let options = Options {
        has_ills: true,
        ..Options::default()
    };
    let sum = sweep(0..200, options);
    for finding in &sum.findings {
        println!("seed {}: {:#?}", finding.seed, finding.wrong);
    }
    println!("{:?}", sum.total);
    assert!(sum.findings.is_empty(), "{} seeds", sum.findings.len());
}

/// Nothing is wrong any more in a seed in which something was, with these options.
fn check(seed: u64, options: Options) {
    assert_eq!(
        play(seed, options).wrong,
        Vec::<String>::new(),
        "seed {seed}"
    );
}

fn with_disk_loss() -> Options {
    Options {
        has_late_requests: false,
        ..Options::default()
    }
}

fn with_late_requests() -> Options {
    Options {
        has_disk_loss: false,
        ..Options::default()
    }
}

fn with_neither() -> Options {
    Options {
        has_disk_loss: false,
        has_late_requests: false,
        ..Options::default()
    }
}

fn with_moves() -> Options {
    Options {
        has_moves: true,
        ..Options::default()
    }
}

fn with_ills() -> Options {
    Options {
        has_ills: true,
        ..Options::default()
    }
}

fn with_reshards() -> Options {
    Options {
        has_reshards: true,
        ..Options::default()
    }
}

#[test]
fn seed_266_a_node_without_its_data_leaves_when_another_has_come_back() {
    check(266, with_disk_loss());
}

#[test]
fn seed_482_writes_to_a_shard_without_a_replica_in_sync_wait() {
    check(482, with_disk_loss());
}

#[test]
fn seeds_in_which_disks_were_lost_and_nodes_lacked_an_index() {
    for seed in [116, 336] {
        check(seed, with_disk_loss());
    }
}

#[test]
fn seeds_in_which_a_request_arrived_behind_newer_ones() {
    for seed in [504, 693, 742, 1131, 1166, 1563, 1949] {
        check(seed, with_late_requests());
    }
}

#[test]
fn seed_72_a_write_overtaken_by_the_removal_of_its_index_ends_with_it_after_a_crash_too() {
    check(72, with_neither());
}

#[test]
fn seed_2574_nothing_is_put_off_while_a_node_waits_for_a_ruling() {
    check(2574, Options::default());
}

#[test]
fn seeds_in_which_a_node_joined_before_it_had_removed_an_index() {
    for seed in [1116, 1201, 1606] {
        check(seed, Options::default());
    }
}

#[test]
fn seeds_in_which_an_old_copy_brought_back_removed_indexes() {
    for seed in [1325, 3509] {
        check(seed, Options::default());
    }
}

#[test]
fn seeds_in_which_a_shard_had_no_replica_in_sync_and_its_nodes_waited_for_rulings() {
    for seed in [4176, 5285] {
        check(seed, Options::default());
    }
}

#[test]
fn seeds_of_removals_and_old_copies_among_ten_thousand() {
    for seed in [5261, 5436, 5438, 5866, 6463, 6570] {
        check(seed, Options::default());
    }
}

#[test]
fn seed_5303_a_node_that_lost_its_disk_and_one_that_left_just_before_do_not_wait_for_each_other() {
    check(5303, Options::default());
}

#[test]
fn seed_929_a_node_that_redid_work_joins_when_its_documents_are_of_one_moment() {
    check(929, Options::default());
}

#[test]
fn seeds_in_which_a_failure_elsewhere_let_an_overtaken_write_end_before_its_removal() {
    for seed in [2100, 3460, 24_327] {
        check(seed, Options::default());
    }
    check(2100, with_reshards());
}

#[test]
fn seed_26454_a_node_that_is_ruled_joins_when_it_has_redone_what_it_had_sent_behind() {
    check(26_454, Options::default());
}

#[test]
fn seeds_in_which_a_copy_that_was_withdrawn_left_a_list() {
    for seed in [1754, 1850, 5184, 5504, 8843] {
        check(seed, with_moves());
    }
}

#[test]
fn seeds_in_which_a_write_that_a_removal_overtook_was_taken_for_done_after_a_restart() {
    for seed in [7, 25] {
        check(seed, with_ills());
    }
}

#[test]
fn seed_26_an_index_that_moved_away_is_dropped_when_all_before_it_has_ended_on_the_node() {
    let options = Options {
        has_moves: true,
        ..with_ills()
    };
    check(26, options);
}

#[test]
fn seed_1983_an_edit_waits_until_what_was_redone_before_it_is_stored() {
    check(1983, with_ills());
}

#[test]
fn seeds_in_which_a_node_without_room_lacked_an_index_whose_first_write_failed() {
    for seed in [1427, 1607] {
        check(seed, with_ills());
    }
}

#[test]
fn seed_1899_a_read_follows_its_name_when_it_is_exchanged_meanwhile() {
    check(1899, with_ills());
}

#[test]
fn seed_8651_an_empty_index_that_an_old_copy_brought_back_is_removed() {
    check(8651, with_moves());
}

#[test]
fn seed_1280_a_twin_that_an_old_copy_brought_back_is_removed() {
    check(1280, with_reshards());
}

#[test]
fn seed_1368_a_read_finds_the_index_that_has_the_name_when_the_one_it_began_with_is_gone() {
    check(1368, with_reshards());
}

#[test]
fn three_hundred_seeds_in_which_shards_move_keep_every_promise() {
    let options = Options {
        has_moves: true,
        has_disk_loss: false,
        has_late_requests: false,
        ..Options::default()
    };
    let sum = sweep(0..300, options);
    for finding in &sum.findings {
        println!("seed {}: {:#?}", finding.seed, finding.wrong);
    }
    println!("{:?}", sum.total);
    assert!(sum.findings.is_empty(), "{} seeds", sum.findings.len());
    // Much moved.
    assert!(sum.total.epochs > 2_500, "{}", sum.total.epochs);
}

#[test]
fn one_seed_gives_one_course_of_things() {
    let options = Options {
        is_traced: true,
        ..Options::default()
    };
    for seed in 0..20 {
        let (first, second) = (play(seed, options), play(seed, options));
        let differing = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
