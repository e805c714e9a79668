/** All benchmarks by name, and the page that shows what a run found. */
package ai.lram.bench.suite;
