"""Chinese words and sentences of the command line, by the English ones: the one place of translations.

``{0}``, ``{1}`` ... stand for the values in the English sentence. ``{0:t}`` in the Chinese one is a value that is
translated itself, such as a reason. Names that are written alike in both languages, as ndcg@10, need no entry.
"""

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    # heads of tables
    "model": "模型",
    "95 % interval": "95 % 区间",
    "fit s": "训练秒数",
    "eval s": "评估秒数",
    "peak MB": "内存峰值 MB",
    "item": "商品",
    "title": "标题",
    "score": "得分",
    "source": "来源",
    "reason": "理由",
    "probability": "概率",
    "value": "值",
    "placement": "推荐位",
    "variant": "分组",
    "version": "版本",
    "lists": "列表数",
    "users": "用户数",
    "clicked, 95 %": "点击率，95 %",
    "purchases a list, 95 %": "每个列表的购买，95 %",
    "a list": "每个列表",
    "recorded, 95 %": "实际记录，95 %",
    "doubly robust": "双重稳健",
    "effective": "有效样本",
    "recent": "近期",
    "events": "事件数",
    "mean": "平均",
    "forecast": "预测",
    "lift": "涨幅",
    "estimate": "估计",
    "training": "训练",
    "time for all epochs": "全部轮次的时间",
    "memory": "内存",
    "deployed as": "部署为",
    "created": "创建时间",
    "items": "商品数",
    "rules of": "规则来自",
    "revision": "修订号",
    "filter": "条件",
    "predicted": "预测值",
    "observed": "实际值",
    "ECE before calibration": "校准前 ECE",
    "Predicted and observed click rates of the test cases": "测试样本的预测点击率与实际点击率",
    # lines of a profile
    "sessions": "会话数",
    "from": "最早时间",
    "to": "最晚时间",
    "no session column": "没有会话列",
    "no times": "没有时间",
    "events per user": "每个用户的事件数",
    "users with one event": "只有一个事件的用户",
    "events on the top 1 % of items": "最热门 1 % 商品的事件占比",
    "items with one event": "只有一个事件的商品",
    "events on items of the history": "重复选择历史商品的事件",
    "exact duplicates": "完全重复的事件",
    "neighbors with equal times": "时间相同的相邻事件",
    "users whose last two are tied": "最后两个事件时间相同的用户",
    "late events on new items": "末期事件中的新商品",
    "sessions by pauses of 30 min": "按停顿 30 分钟划分的会话",
    "pause between events": "事件之间的停顿",
    # reasons of rejected rows, and parts of sentences
    "timestamp is missing or no time between 1970 and 2200": "时间缺失，或不是 1970 到 2200 年之间的时间",
    "timestamp lies in the future": "时间在未来",
    "another event of the line is invalid": "同一行的另一个事件无效",
    "at training": "训练时",
    "the log is": "主日志",
    ", which could be chance": "，也可能是偶然",
    "yes, with settings chosen without them.": "是，参数的选择没有用到它们。",
    "no.": "否。",
    "the history holds it": "历史中已经有它",
    "the catalog does not hold it": "目录里没有它",
    "it was recommended recently": "最近已经推荐过它",
    "it is hidden from all lists": "它在所有列表中都被隐藏",
    "it is the last item of the history": "它是历史中的最后一个商品",
    "the placement excludes its id": "这里按编号排除了它",
    "without propensities": "没有倾向值",
    "of requests with too many ids": "请求中的编号过多",
}
"""Words and phrases: heads of tables, labels and parts of sentences."""

SENTENCES: Mapping[str, str] = {
    # readings of a log
    "{0}: {1} rows read{2}, {3} events kept.": "{0}：读取 {1} 行{2}，保留 {3} 个事件。",
    "{0} rows filtered out by the condition.": "{0} 行不符合条件，已过滤。",
    "{0} rows rejected: {1}.": "拒绝 {0} 行：{1:t}。",
    "The rejected rows are in {0}.": "被拒绝的行在 {0}。",
    "{0} events removed: {1}.": "移除 {0} 个事件：{1:t}。",
    "{0} is read as {1}: {2}": "{0} 的读法与{1:t}相同：{2}",
    "Column '{0}' is read as {1}.": "“{0}”列作为 {1} 读取。",
    "There is no user column; each session of '{0}' counts as a user.": "没有用户列，“{0}”的每个会话算作一个用户。",
    "Column '{0}' is blank in {1} rows and is not read as session_id; if it is, name it: session_id={2}.": (
        "“{0}”列有 {1} 行为空，不作为 session_id 读取；如果它就是会话，请指定 session_id={2}。"
    ),
    "{0} of {1} session ids are shared by users; each user's part is a session of its own.": (
        "{1} 个会话编号中有 {0} 个由多个用户共用，每个用户的部分各算一个会话。"
    ),
    "{0} rows have a session but no user; each such session counts as a user.": (
        "{0} 行有会话但没有用户，这样的每个会话算作一个用户。"
    ),
    "Times are read as epoch {0}, guessed from their size.": "时间按 epoch {0} 读取，由数值大小推断。",
    "Times are date-times without a zone, read as {0}.": "时间没有时区，按 {0} 读取。",
    "Times are ISO 8601 text without a zone, read as {0}.": "时间是没有时区的 ISO 8601 文本，按 {0} 读取。",
    "Times are dates; each is read as midnight {0}.": "时间只有日期，按 {0} 零点读取。",
    "Times are date-times.": "时间是带时区的日期时间。",
    "Times are ISO 8601 text.": "时间是 ISO 8601 文本。",
    "Times are read as '{0}'.": "时间按“{0}”读取。",
    "Times are read as {0} in {1}, guessed from them.": "时间按 {0} 读取，时区 {1}，由内容推断。",
    "There is no time column; the file's order is read as the order of events.": (
        "没有时间列，以文件中的顺序作为事件的顺序。"
    ),
    "No row is of the type {0}. The types: {1}.": "没有 {0} 类型的行。现有类型：{1}。",
    "{0} events of erased users are filtered out.": "已过滤被清除用户的 {0} 个事件。",
    # warnings of a profile
    "The log has an order but no times: a time split and recency are not possible.": (
        "日志有顺序但没有时间，无法按时间划分，也无法计算新近程度。"
    ),
    "All times lie before 1990, up to {0}: check their unit, or whether they are only an order.": (
        "所有时间都早于 1990 年，最晚 {0}：请检查时间单位，或它们只是顺序。"
    ),
    "{0} events lie in the future, up to {1}: a server sets them aside, and a split by time tests them. Check their "
    "unit and zone, or leave them out with a condition.": (
        "{0} 个事件在未来，最晚 {1}：服务器会把它们放在一边，按时间划分会用它们测试。请检查单位和时区，或用条件排除。"
    ),
    "{0} of users have two last events with equal times: leave-last-out is arbitrary there.": (
        "{0} 的用户最后两个事件时间相同，留最后一个的划分在那里是任意的。"
    ),
    "{0} events repeat the user, item and time of another.": "{0} 个事件与另一个事件的用户、商品和时间都相同。",
    "{0} of users have one event only, and so no event to predict.": "{0} 的用户只有一个事件，没有可预测的事件。",
    "{0} of events are on an item of the history: do not exclude seen items blindly.": (
        "{0} 的事件是历史中已有的商品：不要一概排除看过的商品。"
    ),
    "{0} of the last tenth's events are on items that are new by then.": "最后十分之一的事件中，{0} 是当时的新商品。",
    "1 % of the items take {0} of the events.": "1 % 的商品占了 {0} 的事件。",
    "There are {0} types of event, and {1} are '{2}': select those that mean interest with a condition.": (
        "有 {0} 种事件类型，{1} 是“{2}”：请用条件选出表示兴趣的类型。"
    ),
    "Events are cancellations ({0}): leave them out with a condition.": "有些事件是取消（{0}）：请用条件排除。",
    "In {0} events '{1}' is negative, as for returns: leave them out with {2} > 0.": (
        "{0} 个事件的“{1}”为负数，像是退货：请用 {2} > 0 排除。"
    ),
    "{0} items differ from another by the spelling of their id only, as {1} and {2}.": (
        "{0} 个商品与另一个只差编号的写法，例如 {1} 和 {2}。"
    ),
    # leaderboards
    "{0} is ahead of {1} by {2} {3} on the same cases": "在相同的样本上，{0} 的 {3} 比 {1} 高 {2}",
    "{0} (95 % interval {1} .. {2}){3}.": "{0:t}（95 % 区间 {1} .. {2}）{3:t}。",
    "Protocol: {0}.": "划分方式：{0}。",
    "Time-aware models receive the time of each target; the others do not: do not compare the two.": (
        "有的模型知道目标的时间，有的不知道：两者不可比较。"
    ),
    "Ties: {0}. Cases: {1}. Trained on validation events too: {2}": "同分：{0}。样本：{1}。也用验证事件训练：{2:t}",
    "Filtered out: {0}.": "已过滤：{0}。",
    "Data: {0}. Intervals: bootstrap over users or sessions, 1,000 resamples.": (
        "数据：{0}。区间：按用户或会话自助抽样 1,000 次。"
    ),
    "Saved to {0} (version {1}), {2}. Next: segue serve {3}": "已保存到 {0}（版本 {1}）。下一步：segue serve {3}",
    "Saved to {0} (version {1}). Next: segue serve {2}": "已保存到 {0}（版本 {1}）。下一步：segue serve {2}",
    "Not evaluated: no event of the test has an earlier event of its user.": (
        "没有评估：测试中没有一个事件的用户有更早的事件。"
    ),
    # lists
    "Not in the catalog, so not used: {0}.": "目录里没有，未使用：{0}。",
    "The model knows the context {0}, which the log does not have: recommended without it.": (
        "模型使用上下文 {0}，日志中没有：推荐时不使用它。"
    ),
    "Lists for {0} users written to {1}.": "已把 {0} 个用户的列表写到 {1}。",
    "There is no user '{0}' in {1}.": "{1} 中没有用户“{0}”。",
    "No item is left to recommend.": "没有可以推荐的商品了。",
    "No item is left to recommend: {0}.": "没有可以推荐的商品了：{0}。",
    "Deleted or not available, so in no list: {0}.": "已删除或不可售，不在任何列表中：{0}。",
    "The history has no event types, so exclude_seen leaves out its last item only: give --user.": (
        "历史没有事件类型，exclude_seen 只排除最后一个商品：请用 --user。"
    ),
    "The pin of '{0}' at position {1} is not shown there: {2}.": "固定在第 {1} 位的“{0}”没有出现在那里：{2:t}。",
    "The pin of '{0}' at position {1} is never shown: the filter, the exclusions or the stock of the placement leave "
    "it out.": "固定在第 {1} 位的“{0}”永远不会出现：推荐位的条件、排除或库存不允许它。",
    "The catalog does not hold the item '{0}' that a rule names.": "规则提到的商品“{0}”不在目录里。",
    "No item passes the filter '{0}'.": "没有商品符合条件“{0}”。",
    "Placement {0}: {1}": "推荐位 {0}：{1:t}",
    # reports
    "Experiment {0}. Users: {1}.": "实验 {0}。用户：{1}。",
    "The split differs from the expected one (p = {0}): find the cause before reading on.": (
        "分流与预期不符（p = {0}）：请先查明原因。"
    ),
    "Canary minus live: clicked lists {0}, purchases a list {1}.": "金丝雀减线上：点击率 {0}，每个列表的购买 {1}。",
    "Interleaved: {0} users preferred the canary, {1} the live version, {2} neither: {3}, p = {4}.": (
        "交错列表：{0} 个用户偏好金丝雀，{1} 个偏好线上版本，{2} 个没有偏好：{3}，p = {4}。"
    ),
    "{0} lists {1} are not used.": "{0} 个列表未使用（{1:t}）。",
    "Placement {0}: the mean weight is {1}, below 1. Some lists of this model are never drawn by the server, so "
    "nothing is known of their clicks: IPS is a lower bound, the others hold for the lists that are drawn.": (
        "推荐位 {0}：平均权重为 {1}，低于 1。这个模型的一些列表从未被服务器抽到，它们的点击未知："
        "IPS 是下界，其他估计只对抽到的列表成立。"
    ),
    "Placement {0}: the {1} lists have the information of {2} lists of this model. Below {3} the intervals are too "
    "narrow: wait for more lists, explore fewer positions, or evaluate a model nearer to the served one.": (
        "推荐位 {0}：{1} 个列表的信息相当于这个模型的 {2} 个列表。低于 {3} 时区间过窄：请等待更多列表、探索更少的位置，"
        "或评估与线上更接近的模型。"
    ),
    # events
    "{0} events written to {1}.": "已把 {0} 个事件写到 {1}。",
    "{0} events stored in {1}, {2} duplicates{3}.": "已在 {1} 存储 {0} 个事件，重复 {2} 个{3:t}。",
    ", {0} of erased users left out": "，不含被清除用户的 {0} 个",
    "That loss is within chance: the 95 % interval of the difference reaches 0.": (
        "该下降在偶然误差之内：差值的 95% 置信区间包含 0。"
    ),
    "ndcg@10 on the newest {0} cases: {1} before, {2} after.": "最新 {0} 个样本的 ndcg@10：更新前 {1}，更新后 {2}。",
    (
        "{0} of the {1} events of the training are in no log of this update, and the co-visitation model beside the "
        "network is fitted without them: give the older log with --replay."
    ): (
        "训练所用的 {1} 个事件中有 {0} 个不在本次更新的任何日志里，网络旁的共现模型将不含这些事件："
        "请用 --replay 给出旧日志。"
    ),
    (
        "No event of the log is newer than the training of this model, which may be trained on the cases of this "
        "comparison: it is favored."
    ): "日志中没有晚于该模型训练的事件，模型可能已用本次比较的样本训练过，因此占优势。",
    "{0} events are in both logs and count once.": "{0} 个事件在两份日志中都有，只计一次。",
    "Promoted: version {0}, {1} new items.": "已采用：版本 {0}，新增 {1} 个商品。",
    "Not promoted: the old model is better on the newest events, and stays.": (
        "未采用：旧模型在最新事件上更好，继续使用。"
    ),
}
"""Sentences, with their values as ``{0}``, ``{1}`` ..."""
