"""What a field of an impression log is: schema, keys, vocabulary, record layout. Imports no other package here."""
