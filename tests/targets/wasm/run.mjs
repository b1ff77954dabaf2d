// Runs the module that is named, and fails with the text that it returns.
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));

function check(what, memory, returned) {
    const result = BigInt.asUintN(64, returned);
    if (result !== 0n) {
        const [place, length] = [Number(result & 0xffffffffn), Number(result >> 32n)];
        const bytes = new Uint8Array(memory.buffer, place, length);
        console.error(`FAILED: ${what}: ${new TextDecoder().decode(bytes)}`);
        process.exit(1);
    }
}

const { memory, run } = new WebAssembly.Instance(module).exports;
check("pages of its own", memory, run());

// All 4 GiB, and a heap that ends where they do.
const pages = 65536;
for (const length of [65536, 65533, 8196, 4096, 1000]) {
    const { memory, run_at_the_top } = new WebAssembly.Instance(module).exports;
    memory.grow(pages - memory.buffer.byteLength / 65536);
    check(`the last ${length} bytes`, memory, run_at_the_top(length));
}
console.log("wasm32: experts and 40000 operations, no rule broken");
