//! Which requests may be on their way to a node together.

use crate::plan::Work;
use crate::state::LiveBatch;

/// Whether `later` may be sent only when `earlier` has ended.
///
/// After a failure what had been sent behind it is sent again, over documents that have seen it
/// once. That comes to the same unless what a request does depends on the documents it finds; such
/// a request is never sent together with others that change documents of its index.
///
/// An edit by function must not be done twice at all, and a failure has everything sent behind it
/// sent again, of whatever index: it is sent alone, when all before it has ended and that is stored.
/// Of what is not stored as ended a later process looks for the traces on the node, and may find that
/// of a request which somebody canceled, or which failed, and was made good behind it.
///
/// The same holds for an index that is dropped on one node alone, since its shards have moved away:
/// what came before is owed to that node still, and sent again it would find no index, for ever. (The
/// removal of an index everywhere makes all before it needless.)
///
/// A node compacts an index before older tasks that wait, which may be those that make it.
///
/// A node carries out settings that wait together as one, and where one fails all do. Those that may
/// fail there are kept from others: the settings that every index begins with must not fail.
pub(super) fn must_follow_the_end_of(earlier: &LiveBatch, later: &LiveBatch) -> bool {
    if comes_alone(later) {
        return true;
    }
    let is_filter = |batch: &LiveBatch| {
        matches!(
            batch.plan.work,
            Work::DeleteByFilter { .. } | Work::DropShards { .. }
        )
    };
    let depends = |batch: &LiveBatch| {
        is_filter(batch)
            || is_edit(batch)
            || matches!(
                batch.plan.work,
                Work::AddDocuments {
                    skip_creation: true,
                    ..
                }
            )
    };
    let twin = earlier.plan.twin.as_ref();
    let is_of_one_index = later.plan.concerns(&earlier.plan.physical)
        || twin.is_some_and(|twin| later.plan.concerns(&twin.physical));
    let fails_alone = |batch: &LiveBatch| batch.plan.work.may_fail_late();
    if is_of_one_index
        && has_settings(earlier)
        && has_settings(later)
        && (fails_alone(earlier) || fails_alone(later))
    {
        return true;
    }
    is_of_one_index
        && !later.plan.work.is_removal()
        && (depends(earlier) || depends(later) || later.plan.work == Work::CompactIndex)
        // Deletions alone remove the same, however often.
        && !(is_filter(earlier) && is_filter(later))
}

fn has_settings(batch: &LiveBatch) -> bool {
    batch.plan.creation.is_some()
        || matches!(
            batch.plan.work,
            Work::UpdateSettings { .. } | Work::RecreateIndex { .. }
        )
}

/// It is sent when all before it has ended on the node and that is stored, so that nothing before it
/// is ever sent again.
pub(super) fn comes_alone(batch: &LiveBatch) -> bool {
    is_edit(batch) || batch.plan.work == Work::DropIndex
}

/// An edit by function.
pub(super) fn is_edit(batch: &LiveBatch) -> bool {
    matches!(batch.plan.work, Work::EditDocuments { .. })
}
