//! A compiler: naga parses a shader in WGSL, checks it, and writes SPIR-V. A
//! unit of work is one shader of 150 functions.

use std::fmt::Write as _;

use bench_peers::measure::Run;
use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

pub fn run(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 6);
    let source = shader(150);
    run.time(rounds, || {
        for _ in 0..rounds {
            let module = wgsl::parse_str(&source).expect("the shader is right");
            let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
            let checked = validator.validate(&module).expect("the shader is sound");
            let words = spv::write_vec(&module, &checked, &spv::Options::default(), None);
            assert!(words.expect("it can be written").len() > 10_000, "a short result");
        }
    });
}

fn shader(functions: usize) -> String {
    let mut source = String::from(
        "struct Item { position: vec4<f32>, weight: f32, kind: u32, }\n\
         @group(0) @binding(0) var<storage, read_write> items: array<Item>;\n\
         fn step_0(item: Item, scale: f32) -> f32 { return item.weight * scale; }\n",
    );
    for function in 1..functions {
        let before = function - 1;
        write!(
            source,
            "fn step_{function}(item: Item, scale: f32) -> f32 {{
                var sum = 0.0;
                for (var i = 0u; i < item.kind; i = i + 1u) {{
                    let x = item.position.x * scale + f32(i) * {function}.5;
                    if x > 10.0 {{ sum = sum + sin(x) * item.weight; }} else {{ sum = sum - x / 3.0; }}
                }}
                let turned = vec3<f32>(sum, item.position.yz);
                return dot(turned, vec3<f32>(0.5, 0.25, 0.125)) + step_{before}(item, scale * 0.5);
            }}\n"
        )
        .expect("a string takes all");
    }
    write!(
        source,
        "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            items[id.x].weight = step_{}(items[id.x], 1.0);
        }}",
        functions - 1
    )
    .expect("a string takes all");
    source
}
