#!/usr/bin/env node
// Sigmoid focal loss as a program that Steelyard can judge:
//
//     steelyard check "exec:node focal_loss.js"
//
// It reads one JSON request a line and writes one JSON answer a line, as docs/protocol.md says. Floats travel as JSON
// numbers, which JavaScript reads and writes to the last bit; infinities and NaN are texts.
"use strict";

const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const sigmoid = (z) => {
  const small = Math.exp(-Math.abs(z));
  return (z >= 0 ? 1 : small) / (1 + small);
};
// (1 - p)^gamma, where 1 - p = sigmoid(-z) may be too small for a power of it
const modulation = (z, gamma) => (gamma === 0 ? 1 : Math.exp(-gamma * softplus(z)));

const focalLoss = (x, target, gamma) => {
  const z = target ? x : -x;
  return modulation(z, gamma) * softplus(-z);
};
const focalLossGradient = (x, target, gamma) => {
  const z = target ? x : -x;
  const p = sigmoid(z);
  const pLogP = p === 0 ? 0 : -p * softplus(-z);
  const byZ = modulation(z, gamma) * (gamma * pLogP - sigmoid(-z));
  return target ? byZ : -byZ;
};

const TEXTS = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const read = (value) => (typeof value === "string" ? TEXTS[value] : value);
const write = (value) => {
  if (Number.isFinite(value)) return value;
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
};
const option = (value) => (value !== null && typeof value === "object" ? read(value.float) : value);

const sigmoidFocalLoss = (call) => {
  const { logits, targets } = call.arguments;
  const alpha = option(call.options.alpha);
  const gamma = option(call.options.gamma);
  if (logits.shape.join() !== targets.shape.join()) throw new Error("targets: expected the shape of logits");
  if (!targets.data.every((target) => target === 0 || target === 1)) throw new Error("targets: expected 0 or 1");
  if (!(gamma >= 0)) throw new Error(`gamma: expected >= 0, got ${gamma}`);
  if (alpha !== null && !(alpha >= 0 && alpha <= 1)) throw new Error(`alpha: expected null or [0, 1], got ${alpha}`);

  const round = call.dtype === "float32" ? Math.fround : (value) => value;
  const array = (formula, cotangent) => ({
    kind: "float",
    shape: logits.shape,
    data: logits.data.map((x, i) => {
      const target = targets.data[i] === 1;
      const weight = (alpha === null ? 1 : target ? alpha : 1 - alpha) * (cotangent ? read(cotangent.data[i]) : 1);
      return write(round(weight === 0 ? 0 : weight * formula(read(x), target, gamma)));
    }),
  });
  const answer = { outputs: [array(focalLoss)] };
  if (call.gradient_of.length) answer.gradients = { logits: array(focalLossGradient, call.cotangent) };
  return answer;
};

const HELLO = {
  type: "hello", protocol: "steelyard-protocol-1", name: "focal_loss.js", version: "1", floats: "number",
  dtypes: ["float32", "float64"], functions: { sigmoid_focal_loss: { gradients: ["logits"] } },
};

const lines = require("node:readline").createInterface({ input: process.stdin, terminal: false });
lines.on("line", (line) => {
  const call = JSON.parse(line);
  if (call.type === "hello") {
    process.stdout.write(`${JSON.stringify(HELLO)}\n`);
    return;
  }
  let answer;
  try {
    answer = sigmoidFocalLoss(call);
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify({ type: "answer", id: call.id, ...answer })}\n`);
});
