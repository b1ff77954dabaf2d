//! A search engine: tantivy indexes documents in memory and answers queries.
//! A unit of work is one document or query, in the processor time of all threads.

use bench_peers::measure::Run;
use bench_peers::random::Random;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{STORED, Schema, TEXT};
use tantivy::{Index, IndexWriter, TantivyDocument};

pub fn run(run: &mut Run) {
    let documents = run.arguments.get("documents", 4_000);
    let queries = run.arguments.get("queries", 400);
    let texts: Vec<String> = (0..documents).map(text).collect();
    let hits = run.time_threads(documents + queries, || {
        work(&texts, queries).expect("the index is in memory")
    });
    assert!(hits > queries, "queries find something");
}

fn work(texts: &[String], queries: usize) -> tantivy::Result<usize> {
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT);
    let index = Index::create_in_ram(schema.build());
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15 << 20)?;
    for (number, text) in texts.iter().enumerate() {
        let mut document = TantivyDocument::default();
        document.add_text(title, format!("document {number}"));
        document.add_text(body, text);
        writer.add_document(document)?;
    }
    writer.commit()?;
    writer.wait_merging_threads()?;
    let searcher = index.reader()?.searcher();
    let parser = QueryParser::for_index(&index, vec![title, body]);
    let mut random = Random::new(43);
    let mut hits = 0;
    for _ in 0..queries {
        let query =
            format!("{} AND ({} OR {})", word(&mut random), word(&mut random), word(&mut random));
        let query = parser.parse_query(&query).expect("the query is right");
        let found = searcher.search(&query, &TopDocs::with_limit(10).order_by_score())?;
        for &(_, address) in &found {
            hits += searcher.doc::<TantivyDocument>(address)?.len();
        }
    }
    Ok(hits)
}

fn text(number: usize) -> String {
    let mut random = Random::new(number as u64);
    (0..60).map(|_| word(&mut random) + " ").collect()
}

/// A text in which some words are frequent and many are rare.
fn word(random: &mut Random) -> String {
    let limit = 1 + random.below(2_000);
    format!("w{}", random.below(limit))
}
