// Runs the module that is named, and fails with the text that it returns.
import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]));
const { memory, run } = instance.exports;
const result = BigInt.asUintN(64, run());
if (result !== 0n) {
    const bytes = new Uint8Array(memory.buffer, Number(result & 0xffffffffn), Number(result >> 32n));
    console.error(`FAILED: ${new TextDecoder().decode(bytes)}`);
    process.exit(1);
}
console.log("wasm32: experts and 40000 operations, no rule broken");
