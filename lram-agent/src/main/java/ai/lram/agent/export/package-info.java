/**
 * Ways out of this runtime: a model's control step as an ONNX graph. {@link ai.lram.agent.export.OnnxExport} writes it; the file format's
 * messages are generated into {@code schema}.
 */
package ai.lram.agent.export;
