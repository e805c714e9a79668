/** Training: tokens per second, where the time goes, and how far from the best matrix product. */
package ai.lram.bench.train;
