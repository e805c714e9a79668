/** Trajectory data: windows per second, opening stores of any size, import. */
package ai.lram.bench.data;
