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
  word: ["a word", "单词"], character: ["a character", "字符"], bpe: ["a byte pair", "字节对"], time: ["time limit (20s, 10m)", "时间上限（20s、10m）"],
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
  inPython: ["In Python:", "Python 写法："],
  topK: ["top-k", "top-k"], minP: ["min-p", "min-p"], typical: ["typical", "typical"], penalty: ["repetition penalty", "重复惩罚"],
  all: ["all", "全部"], own: ["leave the model as it is", "还原为模型本身"],
  ownHelp: ["Set every slider so that it changes nothing.", "把所有滑块设为不改变概率的位置。"],
  modelSays: ["model", "模型"], drawn: ["drawn", "抽样"], neverDrawn: ["never drawn", "不会抽到"],
  drawable: ["The sliders leave {some} of {all} tokens.", "按当前设置，{all} 个词元中有 {some} 个可被抽到。"],
  afterPrompt: ["What may come after", "接下来可能是"], continuation: ["continuation", "续写结果"],
  noTree: ["Every text and every fork is kept here.", "每次续写和每个分支都会保留在这里。"],
  playKeys: ["Arrow keys walk through the tokens, f forks at the chosen one, Esc lets it go.", "方向键移动，f 从所选词元分叉，Esc 取消选择。"],
  notExact: ["Read again, this prompt is cut into other tokens, so the text may differ.", "重新读入时，这段开头的切分不同，结果可能不一样。"],
  table: ["The table:", "表格："], picture: ["The picture:", "曲线图："],
  keepsText: ["The page keeps the text in that file when training begins.", "开始训练时，页面会把文本保存到该文件。"],
  unknownWords: ["The model does not know {words}; write others.", "模型不认识 {words}，请换成别的词。"],
  another: ["Train another", "再训练一个"],
  saveText: ["Save text.txt", "保存 text.txt"],
};
export let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
export function setLanguage(chosen) {
  language = chosen;
  localStorage.setItem("language", chosen);
  document.documentElement.lang = chosen;
}
export const t = (key) => (WORDS[key] || [key, key])[language === "zh" ? 1 : 0];
document.documentElement.lang = language;
