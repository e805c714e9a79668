/** Measurements: what a benchmark is, what it reports, how two runs compare. Subpackages hold the benchmarks, one subject each. */
package ai.lram.bench;
