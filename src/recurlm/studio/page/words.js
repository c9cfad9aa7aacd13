// Every text of the page, in English and Chinese.
const WORDS = {
  runs: ["Runs", "训练记录"], train: ["Train", "训练"], play: ["Play", "续写"], surprisal: ["Surprisal", "意外度"],
  run: ["run", "名称"], model: ["model", "模型"], parameters: ["parameters", "参数量"], valid: ["valid", "验证"], test: ["test", "测试"],
  state: ["state", "状态"], began: ["began", "开始时间"],
  finished: ["finished", "已完成"], stopped: ["stopped", "已停止"], running: ["training", "训练中"], imported: ["imported", "导入"], extended: ["extended", "扩展"],
  perplexityTable: ["Perplexity on held-out text; lower is better.", "留出文本上的困惑度，越低越好。"],
  choose: ["Check runs to draw them in one picture.", "勾选多个训练，即可画在同一张图里比较。"],
  chart: ["perplexity, logarithmic", "困惑度（对数坐标）"], steps: ["steps", "步"],
  training: ["training", "训练"], validation: ["validation", "验证"],
  noRuns: ["There is no run in this folder yet.", "此文件夹中还没有训练记录。"],
  startDemo: ["Train on the embedded text (1 minute)", "用内置文本训练（1 分钟）"],
  ownText: ["Train on your own text", "用自己的文本训练"],
  text: ["Text", "文本"], pasteText: ["Paste a text, or drop a text file here. One sentence or paragraph a line.", "在此粘贴文本，或拖入文本文件。每行一句或一段。"],
  yourText: ["the text below", "下面的文本"], corpus: ["learn from", "训练语料"], embedded: ["embedded", "内置"], yes: ["on this machine", "本机已有"], no: ["to be downloaded", "需下载"],
  partly: ["partly on this machine", "本机不全"], altered: ["altered", "已被改动"],
  name: ["name of the run", "训练名称"], recipe: ["recipe", "配方"], usual: ["the usual one", "默认"], unit: ["a token is", "词元"], recipes: ["the recipe's", "按配方"],
  word: ["a word", "单词"], character: ["a character", "字符"], bpe: ["a byte pair", "字节对"], time: ["time limit, such as 20s or 10m", "时间上限，如 20s 或 10m"],
  noLimit: ["none", "不限"], start: ["Train", "开始训练"], stop: ["Stop", "停止"], goOn: ["Go on", "继续"], stopping: ["stopping after a checkpoint …", "正在写入检查点并停止……"],
  copy: ["copy", "复制"], copied: ["copied", "已复制"], same: ["In a terminal:", "对应命令："],
  writes: ["It writes", "模型写出的句子"], output: ["Output", "输出"], left: ["left", "剩余"], preparing: ["preparing …", "准备中……"],
  ended: ["finished", "训练完成"], failed: ["training failed", "训练失败"], needText: ["paste a text first, or choose a corpus", "请先粘贴文本，或选择语料"],
  lookAt: ["Look at a text with it", "用它分析文本"], writeWith: ["Let it write", "让它续写"],
  show: ["Show", "分析"], computing: ["computing …", "计算中……"], against: ["against", "对比模型"], nothing: ["no other model", "无"],
  by: ["by", "单位"], byWord: ["word", "按词"], byToken: ["token", "按词元"], download: ["Download TSV", "下载 TSV"],
  bits: ["bits", "比特"], surprisalOf: ["surprisal", "意外度"], probability: ["probability", "概率"], entropy: ["entropy", "熵"], rank: ["rank", "排名"],
  guesses: ["The model expected", "模型的预测"], hover: ["Point at a word, or walk with the arrow keys.", "将鼠标移到词上，或用方向键移动。"],
  unknown: ["not in the vocabulary", "不在词表中"], difference: ["difference", "差值"], total: ["perplexity", "困惑度"], tokens: ["tokens", "词元数"],
  notAlike: ["The two models cut this text differently; compare by word.", "两个模型的切分不同，请按词比较。"],
  noModel: ["No run here has a model yet. Train one first.", "还没有可用的模型，请先训练。"],
  prompt: ["prompt", "开头"], write: ["Write", "续写"], temperature: ["temperature", "温度"], topP: ["top-p", "top-p"], count: ["tokens", "词元数"], seed: ["seed", "随机种子"],
  tried: ["What you tried", "试过的分支"], alternatives: ["What else could stand here", "此处的其他可能"], clickWord: ["Click a word to see what else could have stood there; click an alternative to go on from it.", "点击一个词，查看此处的其他可能；点击候选词，从那里重新续写。"],
  end: ["end", "句末"], any: ["random", "随机"],
  theme: ["Light or dark", "浅色或深色"],
  memory: ["Memory", "记忆"], layer: ["layer", "层"], layerNumber: ["layer {}", "第 {} 层"], part: ["part", "部分"], units: ["units", "单元"],
  mostVaried: ["most varied units", "个变化最大的单元"], allUnits: ["all units", "全部单元"],
  memoryIs: [
    "Paste a text and press Show to see the values of the model's units after each token. Then choose tokens to find the units that hold something over them, change one word and see two memories part and meet again, or compare how long two models remember a word.",
    "粘贴文本，按“分析”，就能看到模型读完每个词元后各单元的数值。然后可以选一段词元，找出在这一段上保持着什么的单元；换一个词，看两份记忆怎样分开又重合；或比较两个模型能把一个词记多久。"],
  unitsTokens: ["units by tokens; arrow keys walk, Shift chooses a span", "单元与词元；方向键移动，按住 Shift 选取一段"],
  part_cell: ["cell state", "单元状态"], part_hidden: ["hidden state", "隐藏状态"], part_input_gate: ["input gate", "输入门"],
  part_forget: ["forget gate", "遗忘门"], part_candidate: ["candidate", "候选值"], part_output_gate: ["output gate", "输出门"],
  part_reset: ["reset gate", "重置门"], part_update: ["update gate", "更新门"],
  unitNumber: ["unit", "单元"], strongest: ["strongest units", "数值最大的单元"], inPython: ["In Python", "在 Python 里"], of: ["of", "/"], numbers: ["Numbers", "数值"],
  holdSpan: ["Units that hold something over exactly these tokens", "恰好在这一段词元上保持着什么的单元"],
  chooseSpan: [
    "Drag over tokens above, or hold Shift and walk with the arrow keys. Space chooses the one token.",
    "在上面的词元上拖动，或按住 Shift 用方向键选取一段；空格键只选一个词元。"],
  noUnit: ["No unit holds exactly this span; try a shorter one, or another part.", "没有单元恰好对应这一段；请试更短的一段，或换一个部分。"],
  above: ["above", "高于"], below: ["below", "低于"], margin: ["margin", "差距"],
  alsoHere: ["Most of these units also do here:", "其中多数单元在这些地方也是如此："],
  nowhereElse: ["Nowhere else do most of these units do so.", "其中多数单元在别处都不是如此。"],
  otherWord: ["One other word", "换一个词"],
  otherWordIs: [
    "The model reads the text twice, the second time with your word in place of the one pointed at above. The curves show how far the two memories are apart after each token, and how much the predictions differ.",
    "模型把文本读两遍，第二遍把上面选中的词换成你写的词。曲线是读完每个词元后两份记忆相距多远，以及两次预测相差多少。"],
  inPlaceOf: ["in place of", "代替"], compare: ["Compare", "比较"], token: ["token", "词元"], tokenNumber: ["number", "序号"],
  statesApart: ["states apart", "状态的距离"], lastLayerApart: ["last layers apart", "最后一层的距离"],
  predictions: ["predictions", "预测"], predictionsApart: ["predictions apart", "预测的距离"],
  remembered: ["How long a word is remembered", "一个词能记多久"],
  rememberedIs: [
    "At up to 64 places a word is replaced by another word of the text. The curves show what is left of the difference after further tokens, on average. Compare with a second run, such as a plain network with an LSTM.",
    "在至多 64 处把一个词换成文本里的另一个词，看再读若干词元之后差别平均还剩多少。可以同另一个训练比较，例如普通循环网络与 LSTM。"],
  furtherTokens: ["further tokens", "再读的词元数"], drawIt: ["Draw", "画图"], tokensSince: ["tokens read since the word", "该词之后读过的词元数"],
  shareLeft: ["share of the difference left in each layer", "各层中差别所剩的比例"],
  shareLeftLast: ["share of the difference left in the last layer", "最后一层中差别所剩的比例"],
};
export let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
export function setLanguage(chosen) {
  language = chosen;
  localStorage.setItem("language", chosen);
  document.documentElement.lang = chosen;
}
export const t = (key) => (WORDS[key] || [key, key])[language === "zh" ? 1 : 0];
export const numbered = (key, number) => t(key).replace("{}", number);
document.documentElement.lang = language;
