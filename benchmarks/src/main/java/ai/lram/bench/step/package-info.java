/** The control step alone, without runtime or network: ours and a decision transformer of equal size. */
package ai.lram.bench.step;
