//! What of a table stays while a program runs, whatever is added or changed.

use crate::rule::{Delay, Matcher, PlanHeader, Rule, flag};
use crate::session::{Header, Layout};

/// What stays of the beginning of a session file.
struct Lasting {
    layout: Layout,
    /// The fields of the head that nobody changes.
    head: Vec<u8>,
    rules: Vec<Rule>,
    matchers: u32,
    text: u32,
}

impl Lasting {
    fn of(bytes: &[u8], with_seed: bool) -> Option<Lasting> {
        let layout = bytemuck::pod_read_unaligned::<Header>(bytes.get(..size_of::<Header>())?).layout;
        let plan = bytes.get(layout.plan as usize..)?.get(..size_of::<PlanHeader>())?;
        let plan: PlanHeader = bytemuck::pod_read_unaligned(plan);
        let mut head = Vec::new();
        head.extend_from_slice(bytemuck::bytes_of(&if with_seed { plan.seed } else { 0 }));
        head.extend_from_slice(bytemuck::bytes_of(&[plan.arm_ns, plan.until_ns, plan.max_faults]));
        head.extend_from_slice(bytemuck::bytes_of(&[plan.protect, plan.work_dir, plan.arm_paths]));
        head.extend_from_slice(bytemuck::bytes_of(&[plan.arm, plan.arm_port_first, plan.arm_port_last]));
        let rules = bytes.get(layout.rules as usize..layout.matchers as usize)?.chunks_exact(size_of::<Rule>());
        let rules = rules.map(|rule| fixed(bytemuck::pod_read_unaligned(rule))).take(plan.rule_count as usize);
        Some(Lasting { layout, head, rules: rules.collect(), matchers: plan.matcher_count, text: plan.text_len })
    }
}

/// A rule without what may change while a program runs.
fn fixed(mut rule: Rule) -> Rule {
    rule.enabled = 0;
    (rule.rate, rule.after, rule.every, rule.times) = (0, 0, 0, 0);
    (rule.nth_first, rule.nth_last, rule.nth_step) = (0, 0, 0);
    (rule.from_ns, rule.until_ns) = (0, 0);
    rule.flags &= !flag::COUNTS;
    (rule.errnos, rule.errno_count, rule.keep_ppm) = (Default::default(), 0, 0);
    (rule.delay, rule.limit) = (Delay::default(), 0);
    rule
}

/// Whether a session that began with the bytes of `image` still has its table, as far as that stays while a program runs;
/// `now` are as many bytes of the file as it is. `with_seed`: the seed is asked for as well.
#[must_use]
pub fn keeps_table(image: &[u8], now: &[u8], with_seed: bool) -> bool {
    let (Some(first), Some(later)) = (Lasting::of(image, with_seed), Lasting::of(now, with_seed)) else { return false };
    let same = |at: u32, size: usize| {
        let range = at as usize..at as usize + size;
        image.get(range.clone()).is_some_and(|bytes| now.get(range) == Some(bytes))
    };
    first.layout == later.layout
        && first.head == later.head
        && later.rules.get(..first.rules.len()) == Some(&first.rules[..])
        && later.matchers >= first.matchers
        && later.text >= first.text
        && same(first.layout.matchers, first.matchers as usize * size_of::<Matcher>())
        && same(first.layout.text, first.text as usize)
}
