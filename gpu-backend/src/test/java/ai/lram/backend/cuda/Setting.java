package ai.lram.backend.cuda;

/** A system property for the length of a block; the value before comes back. */
record Setting(String name, String before) implements AutoCloseable {
    static Setting of(String name, String value) {
        String before = System.getProperty(name);
        System.setProperty(name, value);
        return new Setting(name, before);
    }

    @Override
    public void close() {
        if (before == null) {
            System.clearProperty(name);
        } else {
            System.setProperty(name, before);
        }
    }
}
