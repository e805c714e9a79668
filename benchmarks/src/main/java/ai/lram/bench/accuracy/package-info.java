/** How far a trained model's answers move when its weights or its state are stored narrower, on the observations of its own robot. */
package ai.lram.bench.accuracy;
