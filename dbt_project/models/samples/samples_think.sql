{{ list_samples('think') }}
